//! Image references that name a path. Pure but for the working directory.

use std::path::Path;

/// Prefixes of image references that name a path on the host.
const PATH_PREFIXES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];

/// Makes a path in an image reference absolute, for the agent that reads it has another
/// working directory. A reference to a registry stays as it is.
pub fn absolute(image: &str, base: &Path) -> String {
    for prefix in PATH_PREFIXES {
        if let Some(path) = image.strip_prefix(prefix).filter(|path| !path.is_empty()) {
            let path = base.join(path);
            let path = std::path::absolute(&path).unwrap_or(path);
            return format!("{prefix}{}", path.display());
        }
    }
    // As at a shell's prompt: what begins so is a path, and no registry's name does.
    if image.starts_with("./") || image.starts_with("../") {
        let path = base.join(image);
        return std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string();
    }
    image.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_reference_becomes_absolute_and_a_registry_stays() {
        let base = Path::new("/defs");
        assert_eq!(
            absolute("oci-archive:./d.tar", base),
            "oci-archive:/defs/d.tar"
        );
        assert_eq!(absolute("oci:/srv/image", base), "oci:/srv/image");
        assert_eq!(absolute("example.org/oci:v1", base), "example.org/oci:v1");
        assert_eq!(absolute("./d.tar", base), "/defs/d.tar");
        assert_eq!(absolute("oci:", base), "oci:");
        let here = std::env::current_dir().unwrap();
        let expected = format!("docker-archive:{}", here.join("x.tar").display());
        assert_eq!(absolute("docker-archive:x.tar", Path::new(".")), expected);
    }
}
