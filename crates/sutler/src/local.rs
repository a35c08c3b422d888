//! The plugin `local`: found beside the program, added through the public API, told when ready.
//!
//! Adding is repeated at each start and changes nothing when nothing changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sutler_api::definition::{DefinitionError, PluginDefinition};
use sutler_api::plugin::{AddPluginRequest, PluginState, PluginView};
use sutler_api::volume::ClassView;
use sutler_cli::client::{CallError, Client};
use sutler_cli::wait::{ASK_EVERY_MIN, HOLD, RETRY_EVERY};
use sutler_cli::{ExitStatus, Failure, Report};
use tokio::time::sleep;

use crate::say;

/// The definition in the catalogue; its image is replaced by the one that was found.
const DEFINITION: &str = include_str!("../../../catalogue/local.toml");

/// Name of the image beside the program or among the packaged ones.
const IMAGE_FILE: &str = "sutler-local.oci.tar";

/// Where packages put images.
const PACKAGED: &str = "/usr/share/sutler/images";

/// Where the image of the plugin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// At this path, absolute.
    At(PathBuf),
    /// In none of these places.
    Nowhere(Vec<PathBuf>),
}

impl Image {
    /// Looks for the image: where told, else beside the program, else among the packaged ones.
    ///
    /// # Errors
    /// If it is not where it was told to be.
    pub fn find(told: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = told {
            let path = crate::host::absolute(path)?;
            return match path.exists() {
                true => Ok(Self::At(path)),
                false => Err(Report::new(format!("no image at {}", path.display()))
                    .status(ExitStatus::USAGE)
                    .hint("give an OCI archive or layout folder with --local-image PATH")
                    .into()),
            };
        }
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent);
        let places = beside.into_iter().chain([Path::new(PACKAGED)]);
        Ok(Self::among(
            places.map(|folder| folder.join(IMAGE_FILE)).collect(),
        ))
    }

    fn among(places: Vec<PathBuf>) -> Self {
        match places.iter().find(|place| place.exists()) {
            Some(found) => Self::At(found.clone()),
            None => Self::Nowhere(places),
        }
    }
}

/// Makes the definition with the image at this path.
///
/// # Errors
/// If the catalogue's definition is wrong, which a test rules out.
pub fn definition(image: &Path) -> Result<PluginDefinition, DefinitionError> {
    let mut definition = PluginDefinition::from_toml(DEFINITION)?;
    let scheme = if image.is_dir() { "oci" } else { "oci-archive" };
    definition.image = format!("{scheme}:{}", image.display());
    definition.checked(&BTreeMap::new())
}

/// Adds the plugin and says when its class is ready, and each new trouble until then.
///
/// Gives whether the class is ready.
///
/// # Cancel safety
/// Safe: the plugin is added or not, and the next start adds it again.
pub(crate) async fn bring_up(client: &Client, image: &Path, state_dir: &Path) -> bool {
    match added_and_ready(client, image).await {
        Ok(plugin) => {
            say::line(&ready_line(client, &plugin, state_dir).await);
            true
        }
        Err(report) => {
            say::report(&report);
            false
        }
    }
}

async fn added_and_ready(client: &Client, image: &Path) -> Result<PluginView, Report> {
    let definition = definition(image).map_err(|error| Report::of_error(&error))?;
    let request = AddPluginRequest {
        definition,
        set: BTreeMap::new(),
        on: Vec::new(),
        // Its mounts are the kernel's: they stand while it is away.
        in_use: true,
    };
    let mut plugin = client
        .post::<PluginView>("/v1/plugins", &request)
        .await?
        .value;
    let path = format!("/v1/plugins/{}?until=ready", plugin.name);
    let mut told = BTreeSet::new();
    while !ready(&plugin) {
        tell_troubles(&plugin, &mut told);
        sleep(ASK_EVERY_MIN).await;
        match client.get_waiting::<PluginView>(&path, HOLD).await {
            Ok(answer) => plugin = answer.value,
            // Our own master, so it is back in a moment or this process ends.
            Err(error) if error.is_passing() => sleep(RETRY_EVERY).await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(plugin)
}

/// Whether the plugin answers on each of its nodes, of which there is one at least.
fn ready(plugin: &PluginView) -> bool {
    let mut instances = plugin.instances.iter();
    !plugin.instances.is_empty() && instances.all(|i| i.state == PluginState::Ready)
}

fn tell_troubles(plugin: &PluginView, told: &mut BTreeSet<String>) {
    for instance in &plugin.instances {
        let Some(problem) = &instance.problem else {
            continue;
        };
        let mut report = Report::of_problem(problem);
        report.what = format!(
            "plugin {} on node {}: {}",
            plugin.name, instance.agent, report.what
        );
        if told.insert(report.what.clone()) {
            say::report(&report);
        }
    }
}

async fn ready_line(client: &Client, plugin: &PluginView, state_dir: &Path) -> String {
    let name = &plugin.name;
    match free(client, plugin).await {
        Ok(Some(free)) => {
            format!(
                "  ✓ class '{name}' ready: {free} free in {}",
                state_dir.display()
            )
        }
        Ok(None) | Err(_) => format!("  ✓ class '{name}' ready"),
    }
}

async fn free(
    client: &Client,
    plugin: &PluginView,
) -> Result<Option<sutler_ids::Bytes>, CallError> {
    let classes = client.get::<Vec<ClassView>>("/v1/classes").await?.value;
    let class = classes
        .into_iter()
        .find(|class| class.name.as_str() == plugin.name.as_str());
    Ok(class.and_then(|class| class.free.values().max().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogues_definition_is_valid_with_any_image() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = definition(dir.path()).expect("valid");
        assert_eq!(folder.image, format!("oci:{}", dir.path().display()));
        assert_eq!(folder.checked_name().as_str(), "local");
        let file = definition(&dir.path().join(IMAGE_FILE)).expect("valid");
        assert!(file.image.starts_with("oci-archive:/"), "{}", file.image);
    }

    #[test]
    fn the_first_place_that_has_the_image_wins_and_none_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let places = || vec![one.clone(), two.clone()];
        assert_eq!(Image::among(places()), Image::Nowhere(places()));
        std::fs::write(&two, "").expect("writable");
        assert_eq!(Image::among(places()), Image::At(two.clone()));
        std::fs::write(&one, "").expect("writable");
        assert_eq!(Image::among(places()), Image::At(one.clone()));
        assert!(matches!(
            Image::find(Some(&dir.path().join("x"))),
            Err(Failure::Told(_))
        ));
    }
}
