//! What the tests have in common: the library as it is installed, programs compiled against it, and an end to every
//! process.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

/// Nothing that is run here takes a tenth of it.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);
const WATCHDOG_OF_BUILDS: Duration = Duration::from_secs(1800);

pub(crate) const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Where `cargo xtask install` has put the library.
pub(crate) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = Path::new(env!("CARGO_TARGET_TMPDIR")).join("aether");
        // What an earlier run has left may not be what is installed today.
        let _ = fs::remove_dir_all(&prefix);
        cargo(&["xtask", "install", "--prefix", prefix.to_str().unwrap()]);
        prefix
    })
}

/// The command `aether`.
pub(crate) fn aether() -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| cargo(&["build", "--quiet", "--package", "aether-cli"]));
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("debug").join("aether")
}

fn cargo(arguments: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(PACKAGE);
    let output = limited(&cargo, WATCHDOG_OF_BUILDS).output().unwrap();
    assert!(output.status.success(), "{cargo:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The same command, without input and ended if it takes too long.
pub(crate) fn limited(command: &Command, watchdog: Duration) -> Command {
    let mut limited = Command::new("timeout");
    limited.args(["--signal=KILL", &watchdog.as_secs().to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited.stdin(Stdio::null());
    limited
}

/// Runs a command of a few seconds; its output is the test's to judge.
pub(crate) fn run(command: &mut Command) -> Output {
    limited(command, WATCHDOG).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a command that must succeed and returns what it printed.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A tool by its name, which says how to get it if it is missing.
pub(crate) fn tool(name: &str, package: &str) -> Command {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "`{name}` is missing; get it with `apt-get install {package}`");
    Command::new(name)
}

/// What pkg-config says about the installed library.
pub(crate) fn pkg_config(arguments: &[&str]) -> Vec<String> {
    let mut command = tool("pkg-config", "pkg-config");
    command.env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig")).args(arguments).arg("aether");
    succeed(&mut command).split_whitespace().map(str::to_owned).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Linking {
    Shared,
    Static,
}

/// Compiles a program in C11, or C++17 by its name, without a warning, and links it with the installed library.
pub(crate) fn compile(source: impl AsRef<Path>, linking: Linking, more: &[&str]) -> Program {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let source = Path::new(PACKAGE).join(source);
    let stem = source.file_stem().unwrap().to_str().unwrap();
    let number = NEXT.fetch_add(1, Relaxed);
    let path = prefix().with_file_name(format!("{stem}-{}-{number}", std::process::id()));
    let mut compiler = match source.extension().and_then(OsStr::to_str) {
        Some("c") => tool("cc", "gcc"),
        _ => tool("c++", "g++"),
    };
    let standard = if source.extension() == Some(OsStr::new("c")) { "-std=c11" } else { "-std=c++17" };
    compiler.args([standard, "-g", "-Wall", "-Wextra", "-Werror", "-pedantic"]).args(more);
    compiler.args(pkg_config(&["--cflags"])).arg(&source).arg("-o").arg(&path);
    match linking {
        Linking::Shared => {
            compiler.args(pkg_config(&["--libs"])).arg(format!("-Wl,-rpath,{}", prefix().join("lib").display()))
        }
        Linking::Static => {
            let private =
                pkg_config(&["--static", "--libs-only-l"]).into_iter().filter(|library| library != "-laether");
            compiler.arg(prefix().join("lib/libaether.a")).args(private)
        }
    };
    succeed(&mut compiler);
    Program { path }
}

/// A compiled program, removed when it is dropped.
pub(crate) struct Program {
    pub path: PathBuf,
}

impl Program {
    pub(crate) fn command(&self, argument: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(argument);
        command
    }

    /// The program under valgrind, which makes it fail for an access to memory that is not its own, and for a leak.
    pub(crate) fn under_valgrind(&self, argument: impl AsRef<OsStr>) -> Command {
        let mut command = tool("valgrind", "valgrind");
        command
            .args(["--quiet", "--leak-check=full", "--error-exitcode=99"])
            // Else a handler of bus errors returns to registers that are not those of the access.
            .arg("--vex-iropt-register-updates=allregs-at-mem-access")
            .arg(&self.path)
            .arg(argument);
        command
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
