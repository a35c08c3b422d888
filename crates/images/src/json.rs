//! How JSON of others is read that says the same in more than one way.

use serde::{Deserialize, Deserializer};

/// The Go tools write absent lists and maps as null.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
