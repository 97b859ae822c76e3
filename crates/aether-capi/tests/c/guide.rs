//! `docs/c.md`: its code is that of the examples, its commands are run, and it names what there is.

use std::{fs, path::Path, process::Command};

use crate::{
    declared,
    tools::{PACKAGE, prefix, succeed},
};

fn guide() -> String {
    fs::read_to_string(Path::new(PACKAGE).join("../../docs/c.md")).unwrap()
}

/// The blocks of code in a language.
pub(crate) fn blocks(language: &str) -> Vec<String> {
    let guide = guide();
    let mut blocks = Vec::new();
    let mut rest = guide.as_str();
    while let Some((_, after)) = rest.split_once("```") {
        let (block, next) = after.split_once("\n```").expect("a block has an end");
        let (name, code) = block.split_once('\n').expect("a block has a first line");
        if name == language {
            blocks.push(code.to_owned());
        }
        rest = next;
    }
    assert!(!blocks.is_empty(), "no block in {language}");
    blocks
}

/// Without the indentation, which a part of a function has more of than its copy in the guide.
fn trimmed(code: &str) -> String {
    code.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_code_of_the_guide_is_a_part_of_an_example() {
    for language in ["c", "cpp"] {
        let examples: Vec<String> = fs::read_dir(Path::new(PACKAGE).join("examples"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == language))
            .map(|path| trimmed(&fs::read_to_string(path).unwrap()))
            .collect();
        for block in blocks(language) {
            let block = trimmed(&block);
            assert!(examples.iter().any(|example| example.contains(&block)), "in no example:\n{block}");
        }
    }
}

#[test]
fn the_lines_for_cmake_are_those_of_the_project_that_the_tests_build() {
    let project = fs::read_to_string(Path::new(PACKAGE).join("tests/c/cmake/CMakeLists.txt")).unwrap();
    for line in blocks("cmake").iter().flat_map(|block| block.lines()) {
        assert!(project.lines().any(|other| other == line), "{line}");
    }
}

#[test]
fn the_commands_of_the_guide_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["producer.c", "consumer.cpp", "cost.c"] {
        fs::copy(Path::new(PACKAGE).join("examples").join(name), folder.path().join(name)).unwrap();
    }
    for block in blocks("sh") {
        // Installed already, from the checkout.
        let commands = block.replace("cargo xtask install --prefix ~/.local", "true");
        let commands = commands.replace("~/.local", prefix().to_str().unwrap());
        let commands = commands.replace("/dev/shm/ring", folder.path().join("ring").to_str().unwrap());
        succeed(Command::new("sh").args(["-euc", &commands]).current_dir(folder.path()));
    }
}

#[test]
fn the_guide_names_every_function_and_nothing_that_there_is_not() {
    let file = |name: &str| fs::read_to_string(Path::new(PACKAGE).join(name)).unwrap();
    let installed = file("include/aether.h") + &file("include/aether.hpp") + &file("package/AetherConfig.cmake");
    let guide = guide();
    let words = guide.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let names: Vec<&str> = words.filter(|word| word.to_lowercase().starts_with("aether_")).collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(installed.contains(name), "{name}");
    }
    for name in declared() {
        assert!(guide.contains(&name), "the guide does not name {name}");
    }
}
