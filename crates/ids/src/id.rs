//! Identifiers, each its own type, valid by construction.
//!
//! Two families: UUIDs that we make, and names that people give. Names become parts of
//! paths and of CSI calls, so their grammar is checked here and nowhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Says why a text is not a valid identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("{what} is empty")]
    Empty {
        /// The kind of identifier.
        what: &'static str,
    },
    /// Longer than the limit.
    #[error("{what} has {len} bytes, more than the {max} allowed")]
    TooLong {
        /// The kind of identifier.
        what: &'static str,
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Holds a character outside the grammar.
    #[error("{what} {text:?} has the character {character:?}; allowed are {allowed}")]
    Character {
        /// The kind of identifier.
        what: &'static str,
        /// What was given.
        text: String,
        /// The first offending character.
        character: char,
        /// The grammar in words.
        allowed: &'static str,
    },
    /// Not a UUID.
    #[error("{what} {text:?} is not a UUID")]
    Uuid {
        /// The kind of identifier.
        what: &'static str,
        /// What was given.
        text: String,
    },
}

/// Most bytes in a name: a DNS label's length, so that it fits every CSI field (128 bytes)
/// and every path component with room for a suffix.
pub const NAME_BYTES_MAX: usize = 63;

const ALLOWED: &str = "a-z A-Z 0-9 . _ - with a letter or digit first and last";

fn check_name(what: &'static str, text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { what });
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(IdError::TooLong {
            what,
            len: text.len(),
            max: NAME_BYTES_MAX,
        });
    }
    let bad = |character| IdError::Character {
        what,
        text: text.to_owned(),
        character,
        allowed: ALLOWED,
    };
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"._-".contains(*c))
    {
        return Err(bad(c));
    }
    let ends = [text.chars().next(), text.chars().next_back()];
    match ends
        .into_iter()
        .flatten()
        .find(|c| !c.is_ascii_alphanumeric())
    {
        Some(c) => Err(bad(c)),
        None => Ok(()),
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`IdError`] names the fault.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check_name($what, &text)?;
                Ok(Self(text))
            }

            /// Gives the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <String as utoipa::PartialSchema>::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

name_type!(
    /// What a user calls a volume; unique in the cluster while the volume exists.
    VolumeName,
    "volume name"
);
name_type!(
    /// A named set of plugin, parameters and file system: what a volume is made from.
    ClassName,
    "class name"
);
name_type!(
    /// What we call a plugin; not necessarily the name that the plugin reports.
    PluginName,
    "plugin name"
);
name_type!(
    /// What an operator calls a node; unique in the cluster.
    AgentName,
    "agent name"
);
name_type!(
    /// A task's identifier: given by the user or made from a UUID.
    TaskId,
    "task id"
);

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Gives the UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| IdError::Uuid { what: $what, text: text.to_owned() })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                <String as utoipa::PartialSchema>::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}

uuid_type!(
    /// A volume's identity in our books; equals the UUID of the operation that created it,
    /// so the CSI name derived from it makes every replay of the creation converge.
    VolumeId,
    "volume id"
);
uuid_type!(
    /// One accepted request for change. At most one back-end volume ever comes from one.
    OperationUuid,
    "operation uuid"
);
uuid_type!(
    /// A node's identity, given by the master at its first registration.
    AgentId,
    "agent id"
);
uuid_type!(
    /// One acceptance of a task: the id of a forgotten task may be given again, and what is
    /// told of the earlier one must not count for the later.
    TaskInstance,
    "task instance"
);
uuid_type!(
    /// One question of the master to an agent.
    RequestId,
    "request id"
);

impl VolumeId {
    /// Gives the name that we pass to CreateVolume: the idempotency key of the CSI spec.
    pub fn csi_name(self) -> String {
        format!("sutler-{}", self.0)
    }
}

impl TaskInstance {
    /// Stands where a record cannot say which it was.
    pub const UNKNOWN: Self = Self(Uuid::nil());

    /// Tells whether both may be the same. An unknown one may be any: a task whose record is
    /// damaged must end the task that is wanted, rather than be started a second time.
    pub fn may_be(self, other: Self) -> bool {
        self == other || self == Self::UNKNOWN || other == Self::UNKNOWN
    }
}

impl Default for TaskInstance {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_refused_with_its_fault() {
        for (text, fault) in [
            ("", "is empty"),
            ("a/b", "'/'"),
            ("a\u{7}b", "'\\u{7}'"),
            ("..", "'.'"),
            ("-a", "'-'"),
            ("a-", "'-'"),
            ("ä", "'ä'"),
        ] {
            let error = VolumeName::new(text).unwrap_err().to_string();
            assert!(error.contains(fault), "{text:?}: {error}");
        }
        let error = VolumeName::new("x".repeat(300)).unwrap_err().to_string();
        assert_eq!(error, "volume name has 300 bytes, more than the 63 allowed");
        assert!(VolumeName::new("pg.data_1-A").is_ok());
    }

    #[test]
    fn a_stored_name_is_checked_when_read_back() {
        assert!(serde_json::from_str::<VolumeName>("\"../x\"").is_err());
    }
}
