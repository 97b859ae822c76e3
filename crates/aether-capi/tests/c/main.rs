//! The C interface as its users have it: installed, compiled against with warnings as errors, linked in both ways, run
//! alone, under valgrind, and with Rust on the other side.

#![cfg(target_os = "linux")]

mod guide;
mod tools;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use aether_ipc::{Buffer, Flow};
use tools::{Linking, PACKAGE, WATCHDOG, aether, compile, limited, pkg_config, prefix, run, succeed, tool};

const BOTH: [Linking; 2] = [Linking::Shared, Linking::Static];

/// The examples that play both sides, with what they print.
const ALONE: [(&str, &str); 6] = [
    ("claim.c", "sum 249750.0\n"),
    ("claim.cpp", "sum 249750\n"),
    ("batch.c", "end of\nday\n1000 quotes, spread 500.0\n"),
    ("batch.cpp", "1000 quotes, spread 500\n"),
    ("many_consumers.c", MANY),
    ("many_consumers.cpp", MANY),
];
const MANY: &str = "\
one: 0 from the east
one: 1 from the west
two: 0 from the east
two: 1 from the west
audit: 0 from the east
audit: 1 from the west
";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn example(name: &str) -> String {
    format!("examples/{name}")
}

fn program(name: &str) -> String {
    format!("tests/c/programs/{name}")
}

/// What the producers of the examples send.
fn sent() -> Vec<(i64, i32, String)> {
    (1..=1000).map(|id| (id, 7, format!("message {id}"))).collect()
}

fn received(path: &Path) -> Vec<(i64, i32, String)> {
    let mut messages = Vec::new();
    let mut consumer = Buffer::open(path).unwrap().consumer().unwrap();
    let take = |message: aether_ipc::Message<'_>| {
        let text = String::from_utf8(message.payload().to_vec()).unwrap();
        messages.push((message.id(), message.message_type(), text));
        Flow::Continue
    };
    consumer.drain(usize::MAX, take).unwrap();
    messages
}

fn lines(messages: &[(i64, i32, String)]) -> String {
    messages.iter().map(|(id, message_type, text)| format!("{id} {message_type} {text}\n")).collect()
}

#[test]
fn each_example_is_there() {
    let mut expected: BTreeSet<String> = ALONE.map(|(name, _)| name.to_owned()).into();
    expected.insert("cost.c".to_owned());
    for side in ["producer", "consumer"] {
        expected.extend([format!("{side}.c"), format!("{side}.cpp")]);
    }
    let found = fs::read_dir(Path::new(PACKAGE).join("examples")).unwrap();
    let found: BTreeSet<String> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}

#[test]
fn examples_that_play_both_sides_print_what_they_should_however_they_are_linked() {
    for (name, expected) in ALONE {
        for linking in BOTH {
            let program = compile(example(name), linking, &[]);
            let folder = folder();
            assert_eq!(succeed(&mut program.command(folder.path().join("ring"))), expected, "{name} {linking:?}");
        }
        let program = compile(example(name), Linking::Shared, &[]);
        assert_eq!(succeed(&mut program.under_valgrind(folder().path().join("ring"))), expected, "{name}");
    }
}

#[test]
fn what_a_call_costs_is_measured_for_what_the_guide_shows() {
    let program = compile(example("cost.c"), Linking::Shared, &["-O2"]);
    let folder = folder();
    let mut command = program.command(folder.path().join("ring"));
    let printed = succeed(command.arg("3"));
    let mut checked = program.under_valgrind(folder.path().join("ring"));
    succeed(checked.arg("1"));
    // The words are the same; the figures are not.
    let words = |text: &str| text.lines().map(|line| line.split("  ").next().unwrap().to_owned()).collect::<Vec<_>>();
    let shown = guide::blocks("text").into_iter().find(|block| block.starts_with("ns a message")).unwrap();
    assert_eq!(words(&printed), words(&shown));
    assert_eq!(printed.lines().count(), 5);
}

#[test]
fn producers_in_c_and_cpp_are_heard_in_rust() {
    for name in ["producer.c", "producer.cpp"] {
        for linking in BOTH {
            let program = compile(example(name), linking, &[]);
            let folder = folder();
            let path = folder.path().join("ring");
            succeed(&mut program.command(&path));
            assert_eq!(received(&path), sent(), "{name} {linking:?}");
            succeed(&mut program.under_valgrind(&path));
            assert_eq!(received(&path), sent(), "{name} {linking:?}");
        }
    }
}

#[test]
fn consumers_in_c_and_cpp_hear_rust_until_it_goes() {
    for name in ["consumer.c", "consumer.cpp"] {
        for linking in BOTH {
            let program = compile(example(name), linking, &[]);
            for checked in [false, true] {
                let folder = folder();
                let path = folder.path().join("ring");
                let mut producer = Buffer::create(&path, 4096).unwrap().producer().unwrap();
                let sending = std::thread::spawn(move || {
                    for (id, message_type, text) in sent() {
                        // More than the ring holds: the two run side by side.
                        producer.put_within(WATCHDOG, id, message_type, text.as_bytes()).unwrap();
                    }
                });
                let mut command = if checked { program.under_valgrind(&path) } else { program.command(&path) };
                assert_eq!(succeed(&mut command), lines(&sent()), "{name} {linking:?}");
                sending.join().unwrap();
            }
        }
    }
}

#[test]
fn both_sides_talk_to_the_command() {
    let folder = folder();
    let path = folder.path().join("ring");
    succeed(&mut compile(example("producer.c"), Linking::Shared, &[]).command(&path));
    let received = succeed(Command::new(aether()).args(["recv", "--until-idle", "0s"]).arg(&path));
    assert_eq!(received, sent().iter().map(|(_, _, text)| format!("{text}\n")).collect::<String>());

    let input = folder.path().join("lines");
    fs::write(&input, "one\ntwo\nthree\n").unwrap();
    let mut send = Command::new(aether());
    send.args(["send", "--type", "7"]).arg(&path);
    assert!(limited(&send, WATCHDOG).stdin(fs::File::open(&input).unwrap()).status().unwrap().success());
    let printed = succeed(&mut compile(example("consumer.cpp"), Linking::Shared, &[]).command(&path));
    assert_eq!(printed, "1 7 one\n2 7 two\n3 7 three\n");
}

#[test]
fn examples_without_a_path_say_how_they_are_used_and_with_a_bad_one_what_is_wrong() {
    for name in ["producer.c", "producer.cpp", "consumer.c", "consumer.cpp", "cost.c"]
        .into_iter()
        .chain(ALONE.map(|(name, _)| name))
    {
        let program = compile(example(name), Linking::Shared, &[]);
        let usage = run(&mut Command::new(&program.path));
        assert_eq!(usage.status.code(), Some(2), "{name}");
        assert!(String::from_utf8_lossy(&usage.stderr).contains("usage: "), "{name}");
        let folder = folder();
        let failure = run(&mut program.command(folder.path()));
        assert_eq!(failure.status.code(), Some(1), "{name}");
        let words = String::from_utf8(failure.stderr).unwrap();
        assert!(words.contains("a directory, where a regular file was expected"), "{name}: {words}");
    }
}

#[test]
fn every_function_does_what_the_header_says() {
    for linking in BOTH {
        let program = compile(program("functions.c"), linking, &[]);
        succeed(&mut program.command(folder().path()));
        succeed(&mut program.under_valgrind(folder().path()));
    }
}

#[test]
fn null_and_impossible_arguments_are_errors() {
    let program = compile(program("arguments.c"), Linking::Shared, &[]);
    succeed(&mut program.command(folder().path()));
    succeed(&mut program.under_valgrind(folder().path()));
}

#[test]
fn the_layer_for_cpp_does_what_its_comments_say() {
    for standard in ["-std=c++17", "-std=c++20"] {
        let program = compile(program("layer.cpp"), Linking::Shared, &[standard, "-pthread"]);
        succeed(&mut program.command(folder().path()));
        succeed(&mut program.under_valgrind(folder().path()));
    }
}

#[test]
fn the_layer_for_cpp_works_without_exceptions_and_type_information() {
    let program = compile(program("no_exceptions.cpp"), Linking::Shared, &["-fno-exceptions", "-fno-rtti"]);
    succeed(&mut program.command(folder().path()));
    succeed(&mut program.under_valgrind(folder().path()));
}

/// The functions that the header declares.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(Path::new(PACKAGE).join("include/aether.h")).unwrap();
    let code = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let names = code.match_indices('(').filter_map(|(at, _)| code[..at].rsplit([' ', '\n', '*']).next());
    names.filter(|name| name.starts_with("aether_")).map(str::to_owned).collect()
}

#[test]
fn every_function_of_the_header_is_tested() {
    let source = |name: &str| fs::read_to_string(Path::new(PACKAGE).join(program(name))).unwrap();
    let (functions, arguments) = (source("functions.c"), source("arguments.c"));
    let declared = declared();
    assert!(declared.len() > 40, "{declared:?}");
    for name in declared {
        assert!(functions.contains(&format!("{name}(")), "functions.c does not call {name}");
        let takes_nothing = ["aether_version", "aether_abi", "aether_last_error", "aether_guard_bus_errors"];
        let called = arguments.contains(&format!("{name}(NULL")) || takes_nothing.contains(&name.as_str());
        assert!(called, "arguments.c does not call {name} with null");
    }
}

#[test]
fn the_shared_library_has_its_name_and_exports_the_header_and_nothing_else() {
    let library = prefix().join("lib/libaether.so");
    let header = fs::read_to_string(prefix().join("include/aether.h")).unwrap();
    let (_, rest) = header.split_once("#define AETHER_ABI ").unwrap();
    let name = format!("libaether.so.{}", rest.lines().next().unwrap());
    let dynamic = succeed(tool("readelf", "binutils").arg("--dynamic").arg(&library));
    assert!(dynamic.contains(&format!("Library soname: [{name}]")), "{dynamic}");
    let symbols = succeed(tool("nm", "binutils").args(["--dynamic", "--defined-only", "--format=posix"]).arg(&library));
    let exported: BTreeSet<String> =
        symbols.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert_eq!(exported, declared());
    // A program asks for that name; a static one for none.
    for linking in BOTH {
        let program = compile(example("claim.c"), linking, &[]);
        let needed = succeed(tool("readelf", "binutils").arg("--dynamic").arg(&program.path));
        assert_eq!(needed.contains(&format!("[{name}]")), linking == Linking::Shared, "{needed}");
    }
}

#[test]
fn what_is_installed_is_found_by_pkg_config_also_when_it_was_moved() {
    assert_eq!(pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let folder = folder();
    let moved = folder.path().join("elsewhere");
    succeed(Command::new("cp").arg("-a").arg(prefix()).arg(&moved));
    let mut command = tool("pkg-config", "pkg-config");
    command.env("PKG_CONFIG_PATH", moved.join("lib/pkgconfig")).args(["--cflags", "--libs", "aether"]);
    let flags = succeed(&mut command);
    for flag in flags.split_whitespace().filter(|flag| !flag.starts_with("-l")) {
        let found = fs::canonicalize(&flag[2..]).unwrap();
        assert!(found.starts_with(fs::canonicalize(&moved).unwrap()), "{flag}");
    }
}

#[test]
fn what_is_installed_is_found_by_cmake_in_both_linkings() {
    let folder = folder();
    let build = folder.path().join("build");
    let mut configure = tool("cmake", "cmake");
    configure.arg("-S").arg(Path::new(PACKAGE).join("tests/c/cmake")).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()));
    configure.arg(format!("-DEXAMPLES={PACKAGE}/examples"));
    succeed(&mut configure);
    succeed(tool("cmake", "cmake").arg("--build").arg(&build));
    for linking in ["shared", "static"] {
        let path = folder.path().join(linking);
        succeed(Command::new(build.join(format!("producer_{linking}"))).arg(&path));
        assert_eq!(succeed(Command::new(build.join(format!("consumer_{linking}"))).arg(&path)), lines(&sent()));
    }
}

#[test]
fn installing_again_leaves_running_programs_the_library_that_they_have() {
    // A new file takes the place of the old one, which would otherwise change under the programs that map it.
    use std::os::unix::fs::MetadataExt;

    let folder = folder();
    let library = folder.path().join(format!("lib/libaether.so.{}", env!("CARGO_PKG_VERSION")));
    let mut inodes = BTreeSet::new();
    for _ in 0..2 {
        let mut install = Command::new(env!("CARGO"));
        install.args(["xtask", "install", "--prefix"]).arg(folder.path()).current_dir(PACKAGE);
        succeed(&mut install);
        inodes.insert(fs::metadata(&library).unwrap().ino());
    }
    let names = fs::read_dir(folder.path().join("lib")).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(inodes.len(), 2);
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
}
