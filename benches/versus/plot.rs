//! The results as a picture: rows a second of each format, Rowspout's wires beside ClickHouse's own.

use std::fmt::Write as _;

use super::compare::{Comparison, Measured};
use super::programs::Program;

/// The picture's width, and where its bars begin and end at most, in its own units.
const WIDTH: f64 = 840.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 760.0;
/// Height of a bar, of the gap between two formats, and of what is above the first.
const BAR: f64 = 18.0;
const GAP: f64 = 14.0;
const TOP: f64 = 58.0;

/// Colours by the places of the programs, and the text's, in light and in dark surroundings.
const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}.t{font-size:15px;font-weight:600}.d{fill:#59636e}\
.own{fill:#afb8c1}.wire0{fill:#1a7f64}.wire1{fill:#3b6fd4}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.d{fill:#9198a1}.own{fill:#59636e}.wire0{fill:#3fb68b}.wire1{fill:#6f9bf0}}";

/// A whole SVG file. `below` says what was measured.
pub(crate) fn svg(comparisons: &[Comparison], below: &str) -> String {
    let fastest = comparisons
        .iter()
        .flat_map(bars)
        .map(|(_, _, measured)| measured.rows_per_second)
        .fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = TOP;
    for comparison in comparisons {
        let name = format!(
            "{}, {} parts",
            comparison.format,
            comparison.tables.as_str()
        );
        text(&mut body, "start", 12.0, y + BAR - 5.0, "", &name);
        for (class, name, measured) in bars(comparison) {
            let width = (RIGHT - LEFT) * measured.rows_per_second / fastest;
            text(&mut body, "end", LEFT - 8.0, y + BAR - 5.0, "d", &name);
            // Writing into a string cannot fail.
            let _ = writeln!(
                body,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\"/>",
                BAR - 3.0
            );
            let figure = format!("{:.2} M", measured.rows_per_second / 1e6);
            text(
                &mut body,
                "start",
                LEFT + width + 6.0,
                y + BAR - 5.0,
                "",
                &figure,
            );
            y += BAR;
        }
        y += GAP;
    }
    let height = y + 22.0;
    text(
        &mut body,
        "start",
        12.0,
        24.0,
        "t",
        "Rows a second, more is better",
    );
    text(
        &mut body,
        "start",
        12.0,
        43.0,
        "d",
        "medians of interleaved runs",
    );
    text(&mut body, "start", 12.0, height - 12.0, "d", below);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Rows a second of each format\">\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// What is drawn of one comparison: class, name and figures, Rowspout first.
fn bars(comparison: &Comparison) -> Vec<(String, String, &Measured)> {
    let mut wires = 0;
    let mut bars = Vec::new();
    for measured in &comparison.programs {
        if let Program::Rowspout(wire) = measured.program {
            let name = format!("Rowspout, {wire}");
            bars.push((format!("wire{wires}"), name, measured));
            wires += 1;
        }
    }
    let own = comparison.program(Program::Own);
    bars.push(("own".into(), "ClickHouse".into(), own));
    bars
}

fn text(body: &mut String, anchor: &str, x: f64, y: f64, class: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    let class = match class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    // Writing into a string cannot fail.
    let _ = writeln!(
        body,
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>"
    );
}
