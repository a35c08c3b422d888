//! Archives that no honest tool would make, and layouts around them.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use sutler_images::Digest;

const BLOCK: usize = 512;

/// Writes a tar byte by byte, without anybody checking names or targets.
#[derive(Clone, Default)]
pub struct Tar {
    bytes: Vec<u8>,
}

/// One raw header.
pub struct Raw<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub link: &'a [u8],
    pub mode: u32,
    pub owner: u64,
    pub mtime: u64,
    pub device: (u32, u32),
}

impl Default for Raw<'_> {
    fn default() -> Self {
        let (name, link, kind) = (&b""[..], &b""[..], b'0');
        Raw {
            name,
            kind,
            link,
            mode: 0o644,
            owner: 0,
            mtime: 0,
            device: (0, 0),
        }
    }
}

impl Tar {
    pub fn raw(mut self, raw: &Raw<'_>, data: &[u8]) -> Tar {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(raw.mode);
        header.set_uid(raw.owner);
        header.set_gid(raw.owner);
        header.set_mtime(raw.mtime);
        header
            .set_device_major(raw.device.0)
            .expect("a ustar header");
        header
            .set_device_minor(raw.device.1)
            .expect("a ustar header");
        let block = header.as_mut_bytes();
        block[..raw.name.len()].copy_from_slice(raw.name);
        block[156] = raw.kind;
        block[157..157 + raw.link.len()].copy_from_slice(raw.link);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Tar {
        self.raw(
            &Raw {
                name: name.as_bytes(),
                ..Raw::default()
            },
            data,
        )
    }

    pub fn folder(self, name: &str) -> Tar {
        self.raw(
            &Raw {
                name: name.as_bytes(),
                kind: b'5',
                mode: 0o755,
                ..Raw::default()
            },
            b"",
        )
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.link_of(b'2', name, target)
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.link_of(b'1', name, target)
    }

    /// A PAX header for the entry after it.
    pub fn pax(self, key: &str, value: &[u8]) -> Tar {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let digits = (1..).find(|digits| (body.len() + digits).to_string().len() == *digits);
        let length = body.len() + digits.expect("some number of digits fits");
        let record = [length.to_string().as_bytes(), &body].concat();
        self.raw(
            &Raw {
                name: b"pax",
                kind: b'x',
                ..Raw::default()
            },
            &record,
        )
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn link_of(self, kind: u8, name: &str, target: &str) -> Tar {
        if target.len() > 100 {
            let tar = self.pax("linkpath", target.as_bytes());
            return tar.raw(
                &Raw {
                    name: name.as_bytes(),
                    kind,
                    ..Raw::default()
                },
                b"",
            );
        }
        let (name, link) = (name.as_bytes(), target.as_bytes());
        self.raw(
            &Raw {
                name,
                kind,
                link,
                ..Raw::default()
            },
            b"",
        )
    }
}

pub fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// A layer: what the manifest and config say of it, and what is there.
#[derive(Clone)]
pub struct Layer {
    pub packed: Vec<u8>,
    pub digest: Digest,
    pub size: u64,
    pub diff_id: Digest,
}

impl Layer {
    /// A layer that is what it says, however hostile its content.
    pub fn honest(plain: &[u8]) -> Layer {
        Layer::packed(gzip(plain), Digest::of(plain))
    }

    pub fn packed(packed: Vec<u8>, diff_id: Digest) -> Layer {
        let (digest, size) = (Digest::of(&packed), packed.len() as u64);
        Layer {
            packed,
            digest,
            size,
            diff_id,
        }
    }

    fn descriptor(&self) -> Value {
        let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
        json!({"mediaType": media_type, "digest": self.digest, "size": self.size})
    }
}

/// Writes an OCI layout with one image of these layers; returns its manifest's digest.
pub fn write_layout(dir: &Path, layers: &[Layer]) -> Digest {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("make the layout");
    for layer in layers {
        fs::write(blobs.join(layer.digest.hex()), &layer.packed).expect("write a layer");
    }
    let architecture = sutler_images::Platform::host().architecture;
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = json!({
        "os": "linux", "architecture": architecture, "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let mut config = write_blob(&blobs, &config);
    config["mediaType"] = "application/vnd.oci.image.config.v1+json".into();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config,
        "layers": layers.iter().map(Layer::descriptor).collect::<Vec<_>>(),
    });
    let mut manifest = write_blob(&blobs, &manifest);
    manifest["mediaType"] = media_type.into();
    let digest = manifest["digest"]
        .as_str()
        .expect("made below")
        .parse()
        .expect("made below");
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(dir.join("index.json"), index.to_string()).expect("write the index");
    digest
}

fn write_blob(blobs: &Path, document: &Value) -> Value {
    let bytes = document.to_string();
    let digest = Digest::of(bytes.as_bytes());
    fs::write(blobs.join(digest.hex()), &bytes).expect("write a blob");
    json!({"digest": digest, "size": bytes.len()})
}
