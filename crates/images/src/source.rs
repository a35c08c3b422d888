//! Where the parts of one image are fetched from, and their verification.
//! Whatever leaves this module has the size and digest that it was asked for by.

mod download;

use std::path::Path;
use std::sync::Arc;

pub(crate) use self::download::Download;
use super::auth::{AuthError, AuthSources};
use super::digest::{Digest, Hasher};
use super::error::{Blame, ImageError};
use super::limits::ImageLimits;
use super::local::{ArchiveKind, ArchiveSource, LocalImage, Section};
use super::manifest::{Descriptor, ManifestError};
use super::reference::{ImageReference, RegistryReference};
use super::registry::{Access, Session, read_bounded};

/// An open registry repository, folder or archive.
#[derive(Clone)]
pub(crate) enum Source {
    Registry(Arc<Session>, RegistryReference),
    Local(Arc<LocalImage>),
}

/// What kind of document is asked for: registries keep manifests and blobs apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Manifest,
    Config,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Manifest => "manifest",
            Part::Config => "config",
        }
    }
}

impl Source {
    /// Opens what the reference names. Credentials that cannot be looked up come back beside the
    /// source: most registries want none, so the pull is tried without.
    pub(crate) async fn open(
        blame: &Blame,
        auth: &AuthSources,
        limits: &ImageLimits,
        spool_dir: &Path,
    ) -> Result<(Source, Option<AuthError>), ImageError> {
        if let ImageReference::Registry(reference) = &blame.0 {
            let (credential, withheld) = match auth.credential(reference).await {
                Ok(credential) => (credential, None),
                Err(error) => (None, Some(error)),
            };
            let session = Session::open(reference, credential, Access::Pull)
                .map_err(|source| blame.registry(source))?;
            let source = Source::Registry(Arc::new(session), reference.clone());
            return Ok((source, withheld));
        }
        let (reference, limits, dir) = (blame.0.clone(), limits.clone(), spool_dir.to_owned());
        let opened = blame
            .blocking(move || open_local(&reference, &limits, &dir))
            .await?;
        let opened = opened.map_err(|source| blame.local(source))?;
        Ok((Source::Local(Arc::new(opened)), None))
    }

    /// What the reference itself means: a manifest or an index, and its digest.
    pub(crate) async fn root(
        &self,
        blame: &Blame,
        limits: &ImageLimits,
    ) -> Result<(Vec<u8>, Digest), ImageError> {
        let bytes_max = limits.document_bytes_max;
        match self {
            Source::Registry(session, reference) => {
                let bytes = session
                    .manifest(&reference.selector(), bytes_max)
                    .await
                    .map_err(|source| blame.registry(source))?;
                let found = Digest::of(&bytes);
                if let Some(pinned) = reference.digest() {
                    blame.verify(*pinned, found)?;
                }
                Ok((bytes, found))
            }
            Source::Local(image) => {
                let root = image.root();
                let bytes = self.read_local(image, root, (blame, bytes_max)).await?;
                if bytes.len() as u64 > bytes_max {
                    return Err(too_large(
                        blame,
                        Part::Manifest,
                        bytes.len() as u64,
                        bytes_max,
                    ));
                }
                blame.verify(root, Digest::of(&bytes))?;
                Ok((bytes, root))
            }
        }
    }

    /// A manifest or config that another document names.
    pub(crate) async fn document(
        &self,
        part: Part,
        wanted: &Descriptor,
        (blame, limits): (&Blame, &ImageLimits),
    ) -> Result<Vec<u8>, ImageError> {
        let bytes_max = limits.document_bytes_max;
        if wanted.size > bytes_max {
            return Err(too_large(blame, part, wanted.size, bytes_max));
        }
        let bytes = match (self, part) {
            (Source::Registry(session, _), Part::Manifest) => session
                .manifest(&wanted.digest.to_string(), bytes_max)
                .await
                .map_err(|source| blame.registry(source))?,
            (Source::Registry(session, _), Part::Config) => {
                let answer = session.blob(&wanted.digest.to_string(), 0).await;
                let answer = answer.map_err(|source| blame.registry(source))?;
                read_bounded(answer, bytes_max)
                    .await
                    .map_err(|source| blame.registry(source))?
            }
            (Source::Local(image), _) => {
                self.read_local(image, wanted.digest, (blame, wanted.size))
                    .await?
            }
        };
        if bytes.len() as u64 != wanted.size {
            return Err(blame.wrong_size(wanted.digest, wanted.size, bytes.len() as u64));
        }
        blame.verify(wanted.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// A packed layer, verified. From a registry it comes into `download.partial`, continuing
    /// what an earlier try has left there; on this host it stays where it is.
    pub(crate) async fn layer(
        &self,
        wanted: &Descriptor,
        download: &Download<'_>,
    ) -> Result<Section, ImageError> {
        match self {
            Source::Registry(session, _) => download.run(session, wanted).await,
            Source::Local(image) => {
                let (image, wanted, blame) = (image.clone(), wanted.clone(), download.blame);
                let check = blame.clone();
                blame
                    .blocking(move || verify_section(&image, &wanted, &check))
                    .await?
            }
        }
    }

    async fn read_local(
        &self,
        image: &Arc<LocalImage>,
        digest: Digest,
        (blame, bytes_max): (&Blame, u64),
    ) -> Result<Vec<u8>, ImageError> {
        let image = image.clone();
        let read = blame
            .blocking(move || image.read(digest, bytes_max))
            .await?;
        read.map_err(|source| blame.local(source))
    }
}

fn open_local(
    reference: &ImageReference,
    limits: &ImageLimits,
    spool_dir: &Path,
) -> Result<LocalImage, super::local::LocalError> {
    let (path, tag, kind) = match reference {
        ImageReference::OciLayout { path, tag } => {
            return LocalImage::open_layout(path, tag.as_deref(), limits);
        }
        ImageReference::OciArchive { path, tag } => (path, tag.as_deref(), ArchiveKind::Oci),
        ImageReference::DockerArchive { path, tag } => (path, tag.as_deref(), ArchiveKind::Docker),
        ImageReference::Archive { path } => (path, None, ArchiveKind::Unknown),
        ImageReference::Registry(_) => unreachable!("registries are opened by their session"),
    };
    LocalImage::open_archive(
        &ArchiveSource {
            path,
            tag,
            kind,
            spool_dir,
        },
        limits,
    )
}

fn verify_section(
    image: &LocalImage,
    wanted: &Descriptor,
    blame: &Blame,
) -> Result<Section, ImageError> {
    let section = image
        .section(wanted.digest)
        .map_err(|source| blame.local(source))?;
    if section.bytes != wanted.size {
        return Err(blame.wrong_size(wanted.digest, wanted.size, section.bytes));
    }
    let mut hasher = Hasher::default();
    std::io::copy(&mut section.reader(), &mut hasher).map_err(|source| {
        let path = blame.0.path().unwrap_or(Path::new("")).to_owned();
        blame.local(super::local::LocalError::Read { path, source })
    })?;
    blame.verify(wanted.digest, hasher.finish())?;
    Ok(section)
}

fn too_large(blame: &Blame, part: Part, bytes: u64, max: u64) -> ImageError {
    blame.manifest(ManifestError::TooLarge {
        what: part.name(),
        bytes,
        max,
    })
}
