//! What an entry may be called. Pure: bytes in, a checked relative path out.

use super::super::limits::ImageLimits;
use super::error::UnpackError;

/// Longest component of a path on every Linux file system.
const COMPONENT_BYTES_MAX: usize = 255;
/// How much of a name an error shows.
const SHOWN_BYTES_MAX: usize = 200;

/// A path below the layer's root: no leading slash, no `.`, no `..`, no empty component.
/// The root itself is the empty path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryName(Vec<u8>);

impl EntryName {
    /// Normalises a name from an archive; leading slashes and `.` are dropped, `..` is refused.
    pub(super) fn parse(raw: &[u8], limits: &ImageLimits) -> Result<EntryName, UnpackError> {
        let name = || shown(raw);
        if raw.contains(&0) {
            return Err(UnpackError::ZeroByte { name: name() });
        }
        let max = limits.path_bytes_max;
        if raw.len() > max {
            return Err(UnpackError::NameTooLong { name: name(), max });
        }
        let components: Vec<&[u8]> = raw
            .split(|byte| *byte == b'/')
            .filter(|component| !component.is_empty() && *component != b".")
            .collect();
        if components.contains(&&b".."[..]) {
            return Err(UnpackError::ParentComponent { name: name() });
        }
        if components.len() > limits.depth_max {
            return Err(UnpackError::TooDeep {
                name: name(),
                max: limits.depth_max,
            });
        }
        if components
            .iter()
            .any(|component| component.len() > COMPONENT_BYTES_MAX)
        {
            return Err(UnpackError::NameTooLong {
                name: name(),
                max: COMPONENT_BYTES_MAX,
            });
        }
        Ok(EntryName(components.join(&b'/')))
    }

    pub(super) fn root() -> EntryName {
        EntryName(Vec::new())
    }

    pub(super) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component; empty for the root.
    pub(super) fn file_name(&self) -> &[u8] {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        &self.0[slash.map_or(0, |slash| slash + 1)..]
    }

    pub(super) fn parent(&self) -> EntryName {
        let slash = self.0.iter().rposition(|byte| *byte == b'/');
        EntryName(self.0[..slash.unwrap_or(0)].to_vec())
    }

    /// Every path from the first component down to this one.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = EntryName> + '_ {
        let ends = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        let whole = (!self.is_root()).then_some(self.0.len());
        ends.chain(whole)
            .map(|end| EntryName(self.0[..end].to_vec()))
    }

    /// The same folder with another last component, if that is a possible one.
    pub(super) fn sibling(&self, file_name: &[u8]) -> Option<EntryName> {
        if matches!(file_name, b"" | b"." | b"..") {
            return None;
        }
        let parent = self.parent();
        let parts: &[&[u8]] = if parent.is_root() {
            &[file_name]
        } else {
            &[&parent.0, file_name]
        };
        Some(EntryName(parts.join(&b'/')))
    }

    /// The name for an error text.
    pub(super) fn shown(&self) -> String {
        shown(&self.0)
    }
}

/// Shortens a name for an error text; the text's `{:?}` escapes it.
pub(super) fn shown(raw: &[u8]) -> String {
    let end = raw.len().min(SHOWN_BYTES_MAX);
    let mut text = String::from_utf8_lossy(&raw[..end]).into_owned();
    if end < raw.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &[u8]) -> Result<EntryName, UnpackError> {
        EntryName::parse(raw, &ImageLimits::default())
    }

    #[test]
    fn names_are_normalised_or_refused() {
        let rows: [(&[u8], &[u8]); 8] = [
            (b"a/b", b"a/b"),
            (b"/a", b"a"),
            (b"./a//b/./c/", b"a/b/c"),
            (b"", b""),
            (b"./", b""),
            (b"///", b""),
            (b"...", b"..."),
            ("ü/\u{202e}x".as_bytes(), "ü/\u{202e}x".as_bytes()),
        ];
        for (raw, expected) in rows {
            assert_eq!(parse(raw).unwrap().as_bytes(), expected, "{raw:?}");
        }
        for raw in [&b".."[..], b"a/../b", b"/..", b"a/..", b"../x"] {
            assert!(
                matches!(parse(raw), Err(UnpackError::ParentComponent { .. })),
                "{raw:?}"
            );
        }
        assert!(matches!(parse(b"a\0b"), Err(UnpackError::ZeroByte { .. })));
        assert!(matches!(
            parse(&[b'a'; 256]),
            Err(UnpackError::NameTooLong { max: 255, .. })
        ));
        let long = "abc/".repeat(1100);
        assert!(matches!(
            parse(long.as_bytes()),
            Err(UnpackError::NameTooLong { .. })
        ));
        let deep = "a/".repeat(300);
        assert!(matches!(
            parse(deep.as_bytes()),
            Err(UnpackError::TooDeep { .. })
        ));
    }

    #[test]
    fn parents_and_siblings_stay_inside() {
        let name = parse(b"a/b/.wh.x").unwrap();
        assert_eq!(name.file_name(), b".wh.x");
        assert_eq!(name.parent().as_bytes(), b"a/b");
        assert_eq!(name.sibling(b"x").unwrap().as_bytes(), b"a/b/x");
        assert_eq!(parse(b"top").unwrap().parent().as_bytes(), b"");
        assert_eq!(
            parse(b"top").unwrap().sibling(b"x").unwrap().as_bytes(),
            b"x"
        );
        let prefixes: Vec<Vec<u8>> = name.prefixes().map(|name| name.0).collect();
        assert_eq!(prefixes, [&b"a"[..], b"a/b", b"a/b/.wh.x"]);
        for bad in [&b""[..], b".", b".."] {
            assert_eq!(name.sibling(bad), None);
        }
    }
}
