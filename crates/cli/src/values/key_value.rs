//! `KEY=VALUE`, as `--env` and `--set` take it. Pure.

/// A key and its value.
pub type KeyValue = (String, String);

/// Reads `KEY=VALUE`; the value may be empty and may hold `=`.
///
/// # Errors
/// A text that names the fault.
pub(crate) fn key_value(text: &str) -> Result<KeyValue, String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!("{text:?} has no `=`; write KEY=VALUE"));
    };
    if key.is_empty() {
        return Err(format!("{text:?} has an empty key; write KEY=VALUE"));
    }
    if text.contains('\0') {
        return Err("a NUL character cannot be passed on".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_divides() {
        assert_eq!(key_value("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(key_value("A="), Ok(("A".to_owned(), String::new())));
        assert!(key_value("A").unwrap_err().contains("no `=`"));
        assert!(key_value("=a").unwrap_err().contains("empty key"));
    }
}
