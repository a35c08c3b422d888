//! Our own certificate authority and the server's certificate.
//!
//! The authority is made once and lives as long as the state folder; the server's
//! certificate is made anew when its names change or it nears its end. All of it lies in
//! `tls/` of the state folder, for root alone.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StartError;
use crate::files::{ensure_folder, read_if_there, write_json, write_private};

/// How long a server's certificate is good for: it is renewed at each start of its last month.
const SERVER_DAYS: i64 = 365;

/// How long before its end a certificate is made anew.
const RENEW_DAYS: i64 = 30;

/// A clock that is a day behind must still take a new certificate.
const BACKDATE_DAYS: i64 = 1;

/// Where the authority's certificate is, in the state folder: what clients trust.
pub(crate) const CA_FILE: &str = "tls/ca.pem";

/// What the server needs, and what clients are given.
pub(crate) struct Tls {
    pub config: Arc<ServerConfig>,
    pub ca_pem: String,
}

/// What is known of the server's certificate without reading it.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    names: Vec<String>,
    ca: Uuid,
    until: Timestamp,
}

/// Whose name the authority bears; its certificate says the same.
#[derive(Serialize, Deserialize)]
struct Authority {
    id: Uuid,
}

/// Makes or reads everything for `names`.
pub(crate) fn ensure(
    state_dir: &Path,
    names: &[String],
    now: Timestamp,
) -> Result<Tls, StartError> {
    let folder = state_dir.join("tls");
    ensure_folder(&folder)?;
    let at = |name: &str| folder.join(name);
    let authority = ensure_authority(&folder)?;
    let made = read_if_there(&at("server.json"))?;
    let made = made.and_then(|text| serde_json::from_str::<Made>(&text).ok());
    let good = made.is_some_and(|made| {
        let renew_at = made.until - SignedDuration::from_hours(24 * RENEW_DAYS);
        made.names == names && made.ca == authority.id && now < renew_at
    });
    let files_there = at("server.pem").exists() && at("server.key").exists();
    if !(good && files_there) {
        make_server(&folder, &authority, names, now)?;
    }
    let config = server_config(&at("server.pem"), &at("server.key"))?;
    let ca_pem = read(&state_dir.join(CA_FILE))?;
    Ok(Tls {
        config: Arc::new(config),
        ca_pem,
    })
}

fn read(path: &Path) -> Result<String, StartError> {
    read_if_there(path)?.ok_or_else(|| StartError::ReadFile {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })
}

fn fault<E>(path: &Path) -> impl FnOnce(E) -> StartError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = path.to_owned();
    move |source| StartError::Certificate {
        path,
        source: source.into(),
    }
}

fn ca_params(id: Uuid) -> CertificateParams {
    let mut params = CertificateParams::default();
    // The id keeps apart the authorities of two clusters in one trust store.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("sutler cluster {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn ensure_authority(folder: &Path) -> Result<Authority, StartError> {
    let (json, key, pem) = (
        folder.join("ca.json"),
        folder.join("ca.key"),
        folder.join("ca.pem"),
    );
    // Written last, so it is there only if the others are.
    if let Some(text) = read_if_there(&json)? {
        // Not needed at this start, and tightened all the same.
        read_if_there(&key)?;
        return serde_json::from_str(&text).map_err(fault(&json));
    }
    let authority = Authority { id: Uuid::new_v4() };
    let pair = KeyPair::generate().map_err(fault(&key))?;
    let certificate = ca_params(authority.id)
        .self_signed(&pair)
        .map_err(fault(&pem))?;
    write_private(&key, pair.serialize_pem().as_bytes())?;
    write_private(&pem, certificate.pem().as_bytes())?;
    write_json(&json, &authority)?;
    Ok(authority)
}

fn make_server(
    folder: &Path,
    authority: &Authority,
    names: &[String],
    now: Timestamp,
) -> Result<(), StartError> {
    let (key, pem) = (folder.join("server.key"), folder.join("server.pem"));
    let ca_key = KeyPair::from_pem(&read(&folder.join("ca.key"))?).map_err(fault(&key))?;
    let issuer = Issuer::new(ca_params(authority.id), ca_key);
    let mut params = CertificateParams::new(names.to_vec()).map_err(fault(&pem))?;
    params
        .distinguished_name
        .push(DnType::CommonName, "sutler master");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let until = now + SignedDuration::from_hours(24 * SERVER_DAYS);
    params.not_before =
        SystemTime::from(now - SignedDuration::from_hours(24 * BACKDATE_DAYS)).into();
    params.not_after = SystemTime::from(until).into();
    let pair = KeyPair::generate().map_err(fault(&key))?;
    let certificate = params.signed_by(&pair, &issuer).map_err(fault(&pem))?;
    write_private(&key, pair.serialize_pem().as_bytes())?;
    write_private(&pem, certificate.pem().as_bytes())?;
    write_json(
        &folder.join("server.json"),
        &Made {
            names: names.to_vec(),
            ca: authority.id,
            until,
        },
    )
}

fn server_config(pem: &Path, key: &Path) -> Result<ServerConfig, StartError> {
    let chain = CertificateDer::pem_slice_iter(read(pem)?.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(fault(pem))?;
    let key_der = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes()).map_err(fault(key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fault(pem))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(fault(pem))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_authority_stays_and_the_server_is_renewed_when_it_must() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let read = |name: &str| read(&dir.path().join("tls").join(name)).unwrap();
        let first = ensure(dir.path(), &names(&["localhost", "127.0.0.1"]), now).unwrap();
        let server = read("server.pem");
        ensure(dir.path(), &names(&["localhost", "127.0.0.1"]), now).unwrap();
        assert_eq!(read("server.pem"), server, "nothing changed");
        ensure(dir.path(), &names(&["localhost", "10.0.0.1"]), now).unwrap();
        let other_names = read("server.pem");
        assert_ne!(other_names, server);
        let later = now + SignedDuration::from_hours(24 * (SERVER_DAYS - RENEW_DAYS));
        let last = ensure(dir.path(), &names(&["localhost", "10.0.0.1"]), later).unwrap();
        assert_ne!(read("server.pem"), other_names, "near its end");
        assert_eq!(last.ca_pem, first.ca_pem);
    }

    #[test]
    fn keys_are_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path(), &names(&["localhost"]), Timestamp::now()).unwrap();
        for name in [
            "ca.key",
            "ca.pem",
            "server.key",
            "server.pem",
            "server.json",
            "ca.json",
        ] {
            let mode = dir
                .path()
                .join("tls")
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
