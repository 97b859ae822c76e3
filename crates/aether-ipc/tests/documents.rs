//! What the documents say about the sources is so.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below that end so.
fn files(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root().join(directory), ".rs", &mut found);
    assert!(!found.is_empty());
    found
}

/// The modules that a source names: `crate::a::...`, and each at the start of an item in `crate::{...}`.
fn modules_used(source: &str) -> BTreeSet<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect();
    let mut used = BTreeSet::new();
    let mut note = |text: &str| {
        let name: String = text.chars().take_while(|&c| c.is_ascii_lowercase() || c == '_').collect();
        if text[name.len()..].starts_with("::") || text[name.len()..].starts_with([',', '}', '\n', ';']) {
            used.insert(name);
        }
    };
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            note(rest);
            continue;
        }
        let mut depth = 0;
        for (index, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && (c == '{' || c == ',') {
                note(rest[index + 1..].trim_start());
            }
        }
    }
    used.remove("");
    used
}

/// The modules in the order of the table in `docs/architecture.md`.
fn documented_modules() -> Vec<String> {
    let document = read("docs/architecture.md");
    let table = document.split("<!-- modules -->").nth(1).expect("a marked table");
    table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

#[test]
fn a_module_uses_only_those_that_the_architecture_lists_before_it() {
    let order = documented_modules();
    let mut present = BTreeSet::new();
    for path in sources("crates/aether-ipc/src") {
        let relative = path.strip_prefix(root().join("crates/aether-ipc/src")).unwrap();
        let module = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" {
            continue;
        }
        let place = order.iter().position(|name| *name == module);
        let place = place.unwrap_or_else(|| panic!("docs/architecture.md does not list `{module}`"));
        for used in modules_used(&fs::read_to_string(&path).unwrap()) {
            if used == module {
                continue;
            }
            let below = order.iter().position(|name| *name == used);
            let below = below.unwrap_or_else(|| panic!("{} uses `{used}`, which is not listed", path.display()));
            assert!(below < place, "{} uses `{used}`, which stands above it", path.display());
        }
        present.insert(module);
    }
    for module in order {
        assert!(present.contains(&module), "docs/architecture.md lists `{module}`, which is not there");
    }
}

#[test]
fn every_proof_that_a_page_names_exists() {
    let mut tests = String::new();
    for directory in
        ["crates/aether-ipc/tests", "crates/aether-ipc/src", "crates/aether-journal/tests", "crates/aether-cli/tests"]
    {
        for path in sources(directory) {
            tests += &fs::read_to_string(path).unwrap();
        }
    }
    for (page, least) in [("docs/reliability.md", 30), ("docs/shapes.md", 15)] {
        let document = read(page);
        // Names of tests are sentences; nothing else in these documents has so many words.
        let is_name = |code: &&str| {
            code.matches('_').count() >= 3
                && code.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let names: Vec<&str> = document.split('`').filter(is_name).collect();
        assert!(names.len() >= least, "{page} names {names:?}");
        for name in names {
            // The models are tests by a macro.
            let named = [format!("fn {name}("), format!("    {name}: \"")];
            assert!(named.iter().any(|named| tests.contains(named)), "{page} names the test {name}");
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut documents = Vec::new();
    files(&root().join("docs"), ".md", &mut documents);
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "testdata/README.md"] {
        documents.push(root().join(name));
    }
    for path in documents {
        let text = fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split([')', ' ', '#']).next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let there = path.parent().unwrap().join(target);
            assert!(there.exists(), "{} links to {target}", path.display());
        }
    }
}
