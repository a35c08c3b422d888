//! Templates in plugin definitions: `{{endpoint.url}}` and its like.
//!
//! A deliberately tiny language, names only, so that a definition cannot compute.

use std::collections::BTreeMap;

/// Says why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("template {text:?} opens {{{{ and never closes it")]
    Unclosed {
        /// The template.
        text: String,
    },
    /// A name that means nothing here.
    #[error(
        "template {text:?} uses the unknown variable {name:?}; known are {}",
        KNOWN.join(", ")
    )]
    Unknown {
        /// The template.
        text: String,
        /// The name.
        name: String,
    },
    /// A `set.KEY` that nobody gave.
    #[error("template {text:?} needs --set {key}=VALUE")]
    Unset {
        /// The template.
        text: String,
        /// The key.
        key: String,
    },
}

/// The variables that exist beside `set.KEY` and `set.KEY?`.
pub(crate) const KNOWN: [&str; 7] = [
    "endpoint.url",
    "endpoint.path",
    "agent.name",
    "agent.id",
    "plugin.name",
    "state_dir",
    "volumes_dir",
];

/// The values for one plugin on one node.
#[derive(Debug, Clone, Default)]
pub struct TemplateContext {
    /// Values of [`KNOWN`] names; a missing one is taken as empty.
    pub values: BTreeMap<&'static str, String>,
    /// Values of `set.KEY`.
    pub set: BTreeMap<String, String>,
}

/// Fills in one text.
///
/// # Errors
/// [`TemplateError`] names the text and the fault.
pub fn render(text: &str, context: &TemplateContext) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        out.push_str(&rest[..start]);
        let after = &rest[start + 2..];
        let end = after.find("}}").ok_or_else(|| TemplateError::Unclosed {
            text: text.to_owned(),
        })?;
        out.push_str(&value(text, after[..end].trim(), context)?);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Checks one text without values: every variable known, every needed `set.KEY` given.
///
/// # Errors
/// As [`render`].
pub fn check(text: &str, set: &BTreeMap<String, String>) -> Result<(), TemplateError> {
    let context = TemplateContext {
        values: BTreeMap::new(),
        set: set.clone(),
    };
    render(text, &context).map(drop)
}

fn value(text: &str, name: &str, context: &TemplateContext) -> Result<String, TemplateError> {
    if let Some(key) = name.strip_prefix("set.") {
        let (key, optional) = match key.strip_suffix('?') {
            Some(key) => (key, true),
            None => (key, false),
        };
        return match context.set.get(key) {
            Some(value) => Ok(value.clone()),
            None if optional => Ok(String::new()),
            None => Err(TemplateError::Unset {
                text: text.to_owned(),
                key: key.to_owned(),
            }),
        };
    }
    if !KNOWN.contains(&name) {
        return Err(TemplateError::Unknown {
            text: text.to_owned(),
            name: name.to_owned(),
        });
    }
    Ok(context.values.get(name).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_replaced_and_all_else_is_kept() {
        let context = TemplateContext {
            values: BTreeMap::from([("endpoint.url", "unix:///csi/csi.sock".to_owned())]),
            set: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
        };
        let text = "--e={{endpoint.url}} {{ set.zone }}{{set.none?}}}";
        assert_eq!(
            render(text, &context).unwrap(),
            "--e=unix:///csi/csi.sock a}"
        );
    }

    #[test]
    fn an_unknown_variable_is_named() {
        let error = check("--x={{endpont.url}}", &BTreeMap::new())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"endpont.url\"") && error.contains("endpoint.url"),
            "{error}"
        );
        let error = check("{{set.server}}", &BTreeMap::new())
            .unwrap_err()
            .to_string();
        assert!(error.contains("--set server=VALUE"), "{error}");
        assert!(
            check("{{oops", &BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("closes")
        );
    }
}
