//! Pushes an image from an OCI layout folder to a registry.
//! For our own images and for tests; each blob goes in one request and is not retried.
//!
//! Source: OCI distribution specification 1.1, "Push".

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, StatusCode, Url};

use super::auth::{AuthError, AuthSources};
use super::digest::Digest;
use super::limits::ImageLimits;
use super::local::{LocalError, LocalImage, Section};
use super::manifest::{Descriptor, Document, ManifestError, OCI_INDEX, OCI_MANIFEST};
use super::reference::RegistryReference;
use super::registry::{Access, RegistryError, Session};

/// Bytes per piece of an upload.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The layout folder cannot be read.
    #[error("read the layout {}", path.display())]
    Local {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: LocalError,
    },
    /// A manifest in it cannot be used.
    #[error("use the manifest {digest}")]
    Manifest {
        /// The manifest.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// The credentials cannot be looked up.
    #[error("find credentials for {target}")]
    Auth {
        /// Where to.
        target: Box<RegistryReference>,
        /// Why.
        source: AuthError,
    },
    /// The registry did not take it.
    #[error("push to {target}")]
    Registry {
        /// Where to.
        target: Box<RegistryReference>,
        /// Why.
        source: RegistryError,
    },
    /// The registry wants the upload somewhere else, where our credentials do not belong.
    #[error("{target} sends the upload to {location:?}, which is not the registry itself")]
    Elsewhere {
        /// Where to.
        target: Box<RegistryReference>,
        /// Where it sends us.
        location: String,
    },
}

/// Pushes the image `tag` of the layout folder `layout` to `target`, all platforms included, and
/// returns the digest under which it can be pulled.
///
/// # Errors
///
/// [`PushError`]; what was pushed before stays in the registry, without a name.
pub async fn push(
    layout: &Path,
    tag: Option<&str>,
    target: &RegistryReference,
    auth: &AuthSources,
) -> Result<Digest, PushError> {
    let limits = ImageLimits::default();
    let image =
        LocalImage::open_layout(layout, tag, &limits).map_err(|source| PushError::Local {
            path: layout.into(),
            source,
        })?;
    let credential = auth
        .credential(target)
        .await
        .map_err(|source| PushError::Auth {
            target: Box::new(target.clone()),
            source,
        })?;
    let session =
        Session::open(target, credential, Access::Push).map_err(|source| PushError::Registry {
            target: Box::new(target.clone()),
            source,
        })?;
    let push = Push {
        image,
        layout,
        target,
        session,
        limits,
    };
    let root = push.image.root();
    let (bytes, document) = push.document(root)?;
    match &document {
        Document::Manifest(_) => {}
        Document::Index(index) => {
            for entry in &index.manifests {
                let (bytes, document) = push.document(entry.digest)?;
                push.manifest(&entry.digest.to_string(), bytes, &document)
                    .await?;
            }
        }
    }
    push.manifest(&target.selector(), bytes, &document).await?;
    Ok(root)
}

struct Push<'a> {
    image: LocalImage,
    layout: &'a Path,
    target: &'a RegistryReference,
    session: Session,
    limits: ImageLimits,
}

impl Push<'_> {
    fn document(&self, digest: Digest) -> Result<(Vec<u8>, Document), PushError> {
        let bytes = self
            .image
            .read(digest, self.limits.document_bytes_max)
            .map_err(|source| PushError::Local {
                path: self.layout.into(),
                source,
            })?;
        let document = Document::parse(&bytes, &self.limits)
            .map_err(|source| PushError::Manifest { digest, source })?;
        Ok((bytes, document))
    }

    /// Pushes a manifest after the blobs that it names, or an index.
    async fn manifest(
        &self,
        selector: &str,
        bytes: Vec<u8>,
        document: &Document,
    ) -> Result<(), PushError> {
        let media_type = match document {
            Document::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    self.blob(blob).await?;
                }
                if manifest.media_type.is_empty() {
                    OCI_MANIFEST
                } else {
                    &manifest.media_type
                }
            }
            Document::Index(index) if index.media_type.is_empty() => OCI_INDEX,
            Document::Index(index) => &index.media_type,
        };
        let url = self.url(&format!("manifests/{selector}"))?;
        let body = Bytes::from(bytes);
        let answer = self.session.send(|http| {
            Ok(http
                .put(url.clone())
                .header(CONTENT_TYPE, media_type)
                .body(body.clone()))
        });
        self.succeed(answer.await).await.map(drop)
    }

    async fn blob(&self, blob: &Descriptor) -> Result<(), PushError> {
        let url = self.url(&format!("blobs/{}", blob.digest))?;
        let answer = self.session.send(|http| Ok(http.head(url.clone()))).await;
        if answer.map_err(|source| self.refused(source))?.status() == StatusCode::OK {
            return Ok(());
        }
        let section = self
            .image
            .section(blob.digest)
            .map_err(|source| PushError::Local {
                path: self.layout.into(),
                source,
            })?;
        let url = self.url("blobs/uploads/")?;
        let answer = self
            .session
            .send(|http| Ok(http.post(url.clone()).header(CONTENT_LENGTH, 0)));
        let started = self.succeed(answer.await).await?;
        let location = started
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let mut upload = self.upload_url(&url, location.unwrap_or_default())?;
        upload
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        let answer = self.session.send(|http| {
            let request = http
                .put(upload.clone())
                .header(CONTENT_LENGTH, section.bytes);
            Ok(request
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(body(&section)))
        });
        self.succeed(answer.await).await.map(drop)
    }

    fn upload_url(&self, asked: &Url, location: &str) -> Result<Url, PushError> {
        let elsewhere = || PushError::Elsewhere {
            target: Box::new(self.target.clone()),
            location: location.to_owned(),
        };
        let url = asked.join(location).map_err(|_grammar| elsewhere())?;
        if url.origin() == asked.origin() {
            Ok(url)
        } else {
            Err(elsewhere())
        }
    }

    async fn succeed(
        &self,
        answer: Result<reqwest::Response, RegistryError>,
    ) -> Result<reqwest::Response, PushError> {
        let answer = answer.map_err(|source| self.refused(source))?;
        self.session
            .expect_success(answer)
            .await
            .map_err(|source| self.refused(source))
    }

    fn url(&self, path: &str) -> Result<Url, PushError> {
        self.session
            .url(path)
            .map_err(|source| self.refused(source))
    }

    fn refused(&self, source: RegistryError) -> PushError {
        PushError::Registry {
            target: Box::new(self.target.clone()),
            source,
        }
    }
}

/// Streams a blob piece by piece. Each piece is a short read of a local file.
fn body(section: &Section) -> Body {
    let pieces = stream::unfold(section.reader(), |mut reader| async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        match reader.read(&mut buffer) {
            Ok(0) => None,
            Ok(length) => {
                buffer.truncate(length);
                Some((Ok(Bytes::from(buffer)), reader))
            }
            Err(error) => Some((Err(error), reader)),
        }
    });
    Body::wrap_stream(pieces)
}
