//! Small pictures as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 150.0;
const ROW: f64 = 26.0;
const TOP: f64 = 34.0;

/// One bar for each value, its label on the left and its text at its end.
pub(crate) fn bars(title: &str, values: &[(String, f64, String)]) -> String {
    let most = values.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height = ROW.mul_add(values.len() as f64, TOP + 8.0);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="white"/>
<text x="8" y="20" font-weight="bold">{}</text>
"#,
        text(title)
    );
    for (at, (label, value, shown)) in values.iter().enumerate() {
        let y = ROW.mul_add(at as f64, TOP);
        let length = (WIDTH - LEFT - 110.0) * value / most;
        let _ = writeln!(
            svg,
            r##"<text x="{}" y="{}" text-anchor="end">{}</text><rect x="{LEFT}" y="{y}" width="{length:.1}" height="18" fill="#3569a8"/><text x="{:.1}" y="{}">{}</text>"##,
            LEFT - 8.0,
            y + 14.0,
            text(label),
            LEFT + length + 6.0,
            y + 14.0,
            text(shown),
        );
    }
    svg + "</svg>\n"
}

fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_longest_bar_is_the_largest_value_and_text_is_escaped() {
        let svg = super::bars("a < b", &[("one".into(), 1.0, "1".into()), ("two".into(), 2.0, "2".into())]);
        assert!(
            svg.contains("a &lt; b") && svg.contains(r#"width="190.0""#) && svg.contains(r#"width="380.0""#),
            "{svg}"
        );
    }
}
