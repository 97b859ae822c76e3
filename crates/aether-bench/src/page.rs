//! The page about performance: what people wrote on it stays, what was measured is put between marks, from a report alone.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::{Absent, Measured, Report};
use crate::suite::Group;
use crate::{html, targets};

/// In the folder of documents.
pub const PAGE: &str = "performance.md";
/// Beside it: the pictures and the report.
pub const FOLDER: &str = "performance";
/// In [`FOLDER`].
pub const REPORT: &str = "report.json";

/// Keeps a report.
///
/// # Errors
///
/// If it can't be written.
pub fn save(report: &Report, path: &Path) -> Result<()> {
    let json = serde_json::to_string(report)? + "\n";
    fs::write(path, json).with_context(|| format!("can't write {}", path.display()))
}

/// # Errors
///
/// If there is none, or it is of another version.
pub fn load(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no report of this version", path.display()))
}

/// The page in `docs` with what `report` says, and the pictures by name; nothing is written.
///
/// # Errors
///
/// If a mark is missing on the page, or a picture can't be drawn.
pub fn made(report: &Report, docs: &Path) -> Result<(String, Vec<(String, String)>)> {
    let path = docs.join(PAGE);
    let mut page = fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    let pictures = html::pictures(report)?;
    for (name, text) in
        [("machine", machine(report)), ("targets", wanted(report)), ("figures", figures(report, &pictures))]
    {
        page = between_marks(&page, name, &text).with_context(|| format!("{}: {name}", path.display()))?;
    }
    let pictures = pictures.into_iter().map(|(name, picture)| (format!("{name}.svg"), picture + "\n"));
    Ok((page, pictures.collect()))
}

/// Writes what [`made`] makes, and the report; removes pictures of before.
///
/// # Errors
///
/// As [`made`], and if something can't be written.
pub fn write(report: &Report, docs: &Path) -> Result<()> {
    let (page, pictures) = made(report, docs)?;
    let folder = docs.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg") {
            fs::remove_file(path)?;
        }
    }
    for (name, picture) in pictures {
        fs::write(folder.join(name), picture)?;
    }
    save(report, &folder.join(REPORT))?;
    Ok(fs::write(docs.join(PAGE), page)?)
}

/// Puts `text` between the marks of `name`.
fn between_marks(page: &str, name: &str, text: &str) -> Result<String> {
    let (start, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&start).with_context(|| format!("the mark {start} is missing"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the mark {end} is missing"))?;
    Ok(format!("{before}{start}\n{}\n{end}{after}", text.trim()))
}

fn machine(report: &Report) -> String {
    let mut text = String::from("| what | which |\n|---|---|\n");
    let machine = &report.machine;
    let mut line = |what: &str, which: &str| {
        // Writing into a string can't fail, here and below.
        let _ = writeln!(text, "| {what} | {which} |");
    };
    line("machine", &machine.describe());
    line("caches", &machine.caches);
    line("memory", &machine.memory);
    line("frequency governor", &machine.governor);
    line("hypervisor", if machine.virtual_machine { "yes: the processors are virtual" } else { "none seen" });
    line("compiler", &machine.compiler);
    line("distance", &report.distance());
    line("rounds", &format!("{} of {} s for each measurement", report.rounds, report.seconds));
    line("aether-ipc", &report.version);
    for (name, version) in &report.versions {
        line(name, version);
    }
    text
}

fn wanted(report: &Report) -> String {
    let mut text =
        String::from("| measure | wanted | reached: median (lowest to highest round) | met |\n|---|---|---|---|\n");
    for target in targets::all(report) {
        let (shown, met) = match &target.reached {
            Some(reached) => (reached.shown.as_str(), if reached.met { "yes" } else { "**no**" }),
            None => ("not measured", ""),
        };
        let _ = writeln!(text, "| {} | {} | {shown} | {met} |", target.what, target.wanted);
    }
    text
}

fn figures(report: &Report, pictures: &[(String, String)]) -> String {
    let mut text = String::new();
    for (group, measures) in report.groups() {
        let _ = writeln!(text, "### {}\n\n{}\n", title(group), group.about());
        for (name, _) in pictures.iter().filter(|(name, _)| html::belongs(name, group, &measures)) {
            let _ = writeln!(text, "![{name}]({FOLDER}/{name}.svg)\n");
        }
        for measured in measures {
            text += &table(measured);
        }
    }
    if !report.facts.is_empty() {
        let _ = writeln!(text, "### {}\n\n{}\n", title(Group::Opening), Group::Opening.about());
        text += "| what | figure |\n|---|---:|\n";
        for fact in &report.facts {
            let _ = writeln!(text, "| {} | {:.1} |", fact.name, fact.value);
        }
    }
    text
}

fn title(group: Group) -> String {
    let name = group.name().replace('-', " ");
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn table(measured: &Measured) -> String {
    let (heads, lines) = measured.table();
    let mut text = format!("| {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len() - 1));
    for line in lines {
        let _ = writeln!(text, "| {} |", line.join(" | "));
    }
    text.push('\n');
    for Absent { label, reason } in &measured.absent {
        let _ = writeln!(text, "- {label}: {reason}");
    }
    if !measured.absent.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_outside_the_marks_stays_and_a_missing_mark_is_named() {
        let page = "words\n<!-- figures -->\nold\n<!-- end of figures -->\nmore words\n";
        let made = between_marks(page, "figures", "new\n").unwrap();
        assert_eq!(made, "words\n<!-- figures -->\nnew\n<!-- end of figures -->\nmore words\n");
        assert_eq!(between_marks(&made, "figures", "new").unwrap(), made);
        let error = between_marks(page, "targets", "").unwrap_err();
        assert!(error.to_string().contains("<!-- targets -->"), "{error}");
    }
}
