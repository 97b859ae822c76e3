//! The page about performance says what the report beside it says, and nothing else.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aether_bench::page;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
fn every_figure_and_picture_on_the_page_comes_from_the_report() {
    let folder = docs().join(page::FOLDER);
    let report = page::load(&folder.join(page::REPORT)).unwrap();
    if std::env::var_os("AETHER_WRITE_PAGE").is_some() {
        page::write(&report, &docs()).unwrap();
        return;
    }
    let (made, pictures) = page::made(&report, &docs()).unwrap();
    let found = fs::read_to_string(docs().join(page::PAGE)).unwrap();
    let differing = made.lines().zip(found.lines()).find(|(made, found)| made != found);
    assert!(made == found, "make it anew with `cargo xtask bench --page`; it differs first at {differing:?}");
    let made: BTreeMap<String, String> = pictures.into_iter().collect();
    let found: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "svg"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    let names = |pictures: &BTreeMap<String, String>| pictures.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&made), names(&found), "make them anew with `cargo xtask bench --page`");
    for (name, picture) in &made {
        assert!(found[name] == *picture, "{name} is not what the report says; `cargo xtask bench --page`");
    }
}
