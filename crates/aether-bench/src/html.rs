//! The report as one page, with pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::report::{Absent, Measured, Report, amount, time};
use crate::suite::Group;

const SIZE: (u32, u32) = (900, 420);
const FONT: (&str, u32) = ("sans-serif", 14);

/// Points of one colour, by their label.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// Pictures by name, as SVG.
pub fn pictures(report: &Report) -> Result<Vec<(String, String)>> {
    let mut pictures = Vec::new();
    for (group, measures) in report.groups() {
        if group == Group::Throughput {
            pictures.push((group.name().to_owned(), throughput(&measures)?));
        }
        for measured in measures.iter().filter(|measured| measured.is_timed()) {
            pictures.push((name(measured), latency(measured)?));
        }
    }
    Ok(pictures)
}

fn name(measured: &Measured) -> String {
    measured.name.replace([',', '.'], "").replace(' ', "-").to_lowercase()
}

/// Whether a picture shows one of these measures.
pub(crate) fn belongs(picture: &str, group: Group, measures: &[&Measured]) -> bool {
    picture == group.name() || measures.iter().any(|measured| measured.is_timed() && name(measured) == picture)
}

/// One file that needs no other.
pub fn page(report: &Report) -> Result<String> {
    let mut body = String::new();
    for (name, picture) in pictures(report)? {
        // Writing into a string can't fail, here and below.
        let _ = writeln!(body, "<figure id=\"{}\">{picture}</figure>", escaped(&name));
    }
    for (group, measures) in report.groups() {
        let _ = writeln!(body, "<h2>{}</h2>", escaped(group.about()));
        for measured in measures {
            let (heads, lines) = measured.table();
            let cells = |tag: &str, cells: &[String]| -> String {
                cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
            };
            let _ = writeln!(body, "<table><tr>{}</tr>", cells("th", &heads));
            for line in lines {
                let _ = writeln!(body, "<tr>{}</tr>", cells("td", &line));
            }
            body += "</table>\n";
            for Absent { label, reason } in &measured.absent {
                let _ = writeln!(body, "<p>{}: {}</p>", escaped(label), escaped(reason));
            }
        }
    }
    for fact in &report.facts {
        let _ = writeln!(body, "<p>{}: {:.1}</p>", escaped(&fact.name), fact.value);
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>aether bench</title><style>\n\
         body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2em auto; padding: 0 1em; }}\n\
         table {{ border-collapse: collapse; margin: 1em 0; width: 100%; font-variant-numeric: tabular-nums; }}\n\
         th, td {{ padding: .2em .6em; text-align: right; border-bottom: 1px solid #ddd; }}\n\
         th:first-child, td:first-child {{ text-align: left; }} figure {{ margin: 1em 0; }} svg {{ max-width: 100%; }}\n\
         </style></head><body>\n<h1>aether bench {}</h1>\n<p>{}</p>\n<p>{} rounds of {} s; {}.</p>\n{body}</body></html>\n",
        escaped(&report.version),
        escaped(&report.machine.describe()),
        report.rounds,
        report.seconds,
        escaped(&report.distance()),
    ))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn throughput(measures: &[&Measured]) -> Result<String> {
    let mut lines = Lines::new();
    for measured in measures {
        for row in &measured.rows {
            lines.entry(row.label.clone()).or_default().push((measured.size as f64, row.bytes_per_second));
        }
    }
    let bytes = |size: &f64| crate::suite::bytes(*size as usize);
    let rate = |value: &f64| format!("{}B/s", amount(*value));
    plot("Throughput by payload", &lines, &bytes, &rate)
}

/// By how rare a message is: one in ten, in a hundred, and so on.
fn latency(measured: &Measured) -> Result<String> {
    let mut lines = Lines::new();
    for row in &measured.rows {
        let curve = row.latency.iter().flat_map(|latency| &latency.curve);
        let points = curve.filter(|(percentile, _)| *percentile < 100.0);
        let points = points.map(|(percentile, value)| (100.0 / (100.0 - percentile), (*value).max(1) as f64));
        lines.insert(row.label.clone(), points.collect());
    }
    let rarity = |one_in: &f64| format!("1 in {}", amount(*one_in));
    plot(&format!("Latency: {}", measured.name), &lines, &rarity, &|value: &f64| time(*value))
}

/// Both axes are logarithmic.
fn plot(title: &str, lines: &Lines, x: &dyn Fn(&f64) -> String, y: &dyn Fn(&f64) -> String) -> Result<String> {
    let (mut across, mut up) = ((f64::MAX, f64::MIN), (f64::MAX, f64::MIN));
    for &(x, y) in lines.values().flatten() {
        across = (across.0.min(x), across.1.max(x));
        up = (up.0.min(y), up.1.max(y));
    }
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(34)
            .y_label_area_size(90)
            // A little more than the points need, so that a single one still spans a range.
            .build_cartesian_2d(
                (across.0..across.1.max(across.0 * 1.1)).log_scale(),
                (up.0 * 0.9..up.1 * 1.1).log_scale(),
            )
            .map_err(failed)?;
        let mesh = &mut chart.configure_mesh();
        mesh.x_label_formatter(x).y_label_formatter(y).label_style(FONT).draw().map_err(failed)?;
        for (index, (label, points)) in lines.iter().enumerate() {
            let style = Palette99::pick(index).stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))
                .map_err(failed)?
                .label(label.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
        let legend = &mut chart.configure_series_labels();
        legend.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).label_font(FONT);
        legend.position(SeriesLabelPosition::UpperLeft).draw().map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(picture)
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("can't draw: {error}")
}
