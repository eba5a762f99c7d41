//! The page: a template, and data that cannot break out of it.

use crate::failure::{Failure, Result};
use serde::Serialize;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The template with its parts. Nothing of it is fetched from anywhere.
pub(super) fn fill(data: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(data).map_err(|e| Failure::Other(e.to_string()))?;
    let parts = [("{{style}}", STYLE), ("{{data}}", &escaped(&json)), ("{{script}}", SCRIPT)];
    let mut page =
        String::with_capacity(PAGE.len() + parts.iter().map(|p| p.1.len()).sum::<usize>());
    let mut rest = PAGE;
    // In the order of the template: what has been filled in is not looked at again.
    for (place, part) in parts {
        let (before, after) = rest
            .split_once(place)
            .ok_or_else(|| Failure::Other(format!("the template of the page has no {place}")))?;
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page.push_str(rest);
    Ok(page)
}

/// JSON that may stand in a script element: without `<`, so that no text can end the element or begin a comment. Outside
/// of strings JSON has none, and inside an escape means the same.
fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The text of the script element with the data.
    fn data_of(page: &str) -> Value {
        let (_, rest) = page.split_once(r#"<script id="data" type="application/json">"#).unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    #[test]
    fn hostile_text_stays_text() {
        let hostile = json!({
            "text": "</script><script>alert(1)</script><!-- \u{2028} & \" ' \\ {{script}} {{data}} ]]>",
            "</ScRiPt>": "<img src=x onerror=alert(1)>",
        });
        let page = fill(&hostile).unwrap();
        assert_eq!(data_of(&page), hostile);
        let plain = fill(&json!({})).unwrap();
        for mark in ["<", "<script", "</script>", "<!--"] {
            assert_eq!(page.matches(mark).count(), plain.matches(mark).count(), "{mark}");
        }
    }

    #[test]
    fn the_page_stands_alone() {
        let page = fill(&json!({})).unwrap();
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("{{"), "a part was left out");
        for outside in
            ["http:", "https:", "src=", "@import", "url(", "fetch(", "innerHTML", "eval("]
        {
            assert!(!page.contains(outside), "{outside}");
        }
        for element in ["html", "head", "body", "style", "main", "title"] {
            let count = |tag: &str| page.matches(tag).count();
            assert_eq!(count(&format!("</{element}>")), 1, "{element}");
        }
        assert_eq!(page.matches("<script").count(), page.matches("</script>").count());
    }
}
