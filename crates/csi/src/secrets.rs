//! Maps whose content must not be seen.
//!
//! Owns [`Secrets`], which neither print nor serialise and are wiped when dropped, and
//! [`Context`], which does not print but is kept in records, because a repeated call must
//! carry the same bytes. The copy of a secret that a call puts on the wire is not wiped.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Shortest value that is blotted out of texts: shorter ones would blot out plain words.
const SCRUB_BYTES_MIN: usize = 4;

/// What stands where a secret was.
const BLOT: &str = "<hidden>";

/// Secrets for one call. Does not print, does not serialise, wipes itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Zeroizing<String>>);

impl Secrets {
    /// No secrets.
    pub fn none() -> Secrets {
        Secrets::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The values in the clear, for the wire.
    pub(crate) fn reveal(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect()
    }

    /// The text with every secret value of four bytes or more blotted out.
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in self
            .0
            .values()
            .filter(|value| value.len() >= SCRUB_BYTES_MIN)
        {
            if clean.contains(value.as_str()) {
                clean = clean.replace(value.as_str(), BLOT);
            }
        }
        clean
    }
}

impl FromIterator<(String, String)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Secrets {
        Secrets(
            entries
                .into_iter()
                .map(|(key, value)| (key, Zeroizing::new(value)))
                .collect(),
        )
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} hidden>", self.0.len())
    }
}

/// What a plugin hands out to be handed back: volume context or publish context. May hold
/// secrets, so it does not print; it is kept in records.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context(BTreeMap<String, String>);

impl Context {
    /// The entries in the clear. Not for logs.
    pub fn reveal(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<BTreeMap<String, String>> for Context {
    fn from(entries: BTreeMap<String, String>) -> Context {
        Context(entries)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} hidden>", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    fn entries() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("user".into(), "admin".into()),
            ("key".into(), "hunter2".into()),
        ])
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let capability = proto::VolumeCapability {
            access_type: Some(proto::volume_capability::AccessType::Mount(
                proto::volume_capability::MountVolume {
                    mount_flags: vec!["password=hunter2".into()],
                    ..Default::default()
                },
            )),
            ..Default::default()
        };
        let texts = [
            format!("{:?}", entries().into_iter().collect::<Secrets>()),
            format!("{:#?}", Context::from(entries())),
            format!("{capability:?}"),
            format!(
                "{:?}",
                proto::CreateVolumeRequest {
                    secrets: entries(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                proto::Volume {
                    volume_context: entries(),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                proto::CreateVolumeResponse {
                    volume: Some(proto::Volume {
                        volume_context: entries(),
                        ..Default::default()
                    }),
                }
            ),
            format!(
                "{:?}",
                proto::NodePublishVolumeRequest {
                    publish_context: entries(),
                    volume_context: entries(),
                    volume_capability: Some(capability.clone()),
                    ..Default::default()
                }
            ),
            format!(
                "{:?}",
                proto::ControllerPublishVolumeResponse {
                    publish_context: entries()
                }
            ),
            format!(
                "{:?}",
                proto::validate_volume_capabilities_response::Confirmed {
                    volume_context: entries(),
                    ..Default::default()
                }
            ),
        ];
        for text in texts {
            assert!(
                !text.contains("hunter2") && !text.contains("admin"),
                "{text}"
            );
            assert!(text.contains("hidden"), "{text}");
        }
    }

    #[test]
    fn a_plugin_that_quotes_a_secret_is_not_quoted() {
        let secrets: Secrets = entries().into_iter().collect();
        let text = secrets.scrub("login admin:hunter2 refused");
        assert_eq!(text, "login <hidden>:<hidden> refused");
    }

    #[test]
    fn a_context_keeps_its_bytes_through_a_record() {
        let context = Context::from(entries());
        let record = serde_json::to_string(&context).expect("a map of strings serialises");
        assert_eq!(record, r#"{"key":"hunter2","user":"admin"}"#);
        assert_eq!(
            serde_json::from_str::<Context>(&record).expect("reads back"),
            context
        );
    }
}
