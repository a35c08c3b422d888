//! Links in Markdown files: a relative one must lead to a file, and its anchor to a heading.
//! Addresses of other sites are not looked at.

use super::Finding;

/// Finds links that lead nowhere. `read` gives a file's text by its path from the repository's
/// root, an empty text for a folder.
pub(super) fn check(path: &str, text: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            if let Some(what) = fault(path, text, target, read) {
                let remedy = "correct the link or write what it leads to";
                findings.push(Finding::new(path, index + 1, what, remedy));
            }
        }
    }
    findings
}

fn fault(
    path: &str,
    text: &str,
    target: &str,
    read: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let (file, linked) = match file {
        "" => (path.to_owned(), Some(text.to_owned())),
        file => {
            let file = resolve(path, file);
            let linked = read(&file);
            (file, linked)
        }
    };
    let Some(linked) = linked else {
        return Some(format!("link to {file}, which is not there"));
    };
    let known = anchor.is_empty() || headings(&linked).any(|heading| heading == anchor);
    (!known).then(|| format!("link to heading #{anchor} of {file}, which has none such"))
}

/// Gives the targets of `[text](target)` in one line, code spans left out.
fn targets(line: &str) -> Vec<&str> {
    let outside_code = line.split('`').step_by(2);
    outside_code
        .flat_map(|part| part.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split(' ').next().unwrap_or(target))
        .collect()
}

/// Joins a link to the folder of the file that holds it.
fn resolve(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Gives the anchors of a file's headings.
fn headings(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let read = |path: &str| match path {
            "README.md" => Some("# Title\n## Two words, really\n".to_owned()),
            "docs" => Some(String::new()),
            _other => None,
        };
        check("docs/a.md", text, &read)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_link_that_leads_somewhere_passes() {
        let text = "# Here\n[a](../README.md) [b](../README.md#two-words-really) [c](#here)\n\
            [d](.) [e](https://example.org/x) `[f](gone.md)`\n```\n[g](gone.md)\n```\n";
        assert_eq!(found(text), [] as [String; 0]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let text = "x\n[a](gone.md) [b](../README.md#three) [c](#there)\n";
        let found = found(text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("docs/a.md:2: link to docs/gone.md"),
            "{found:?}"
        );
        assert!(found[1].contains("#three of README.md"), "{found:?}");
    }
}
