//! Classes and their parameters, as plugin definitions give them.

use std::collections::BTreeMap;

use sutler_api::definition::{ClassDefinition, PluginDefinition};
use sutler_ids::ClassName;
use sutler_ids::{ErrorKind, Problem};

use crate::books::Books;
use crate::record::PluginRecord;

/// The class that is used when none is named and this one exists.
const DEFAULT_CLASS: &str = "local";

/// A class and the plugin that it comes with.
pub(crate) struct Class<'a> {
    pub name: ClassName,
    pub plugin: &'a PluginRecord,
    pub definition: ClassDefinition,
}

impl Books {
    /// Gives every class of every plugin that is not being removed, by name.
    pub(crate) fn classes(&self) -> BTreeMap<ClassName, Class<'_>> {
        let plugins = self
            .durable
            .plugins
            .values()
            .filter(|plugin| !plugin.removing);
        plugins
            .flat_map(|plugin| {
                let classes = plugin.definition.classes().into_iter();
                classes.map(move |(name, definition)| {
                    (
                        name.clone(),
                        Class {
                            name,
                            plugin,
                            definition,
                        },
                    )
                })
            })
            .collect()
    }

    /// Gives the class used when none is named: `local`, else the only one.
    pub(crate) fn default_class(&self) -> Option<ClassName> {
        let classes = self.classes();
        let local = classes.keys().find(|name| name.as_str() == DEFAULT_CLASS);
        match (local, classes.len()) {
            (Some(name), _) => Some(name.clone()),
            (None, 1) => classes.into_keys().next(),
            (None, _) => None,
        }
    }

    pub(crate) fn class(&self, wanted: Option<&ClassName>) -> Result<Class<'_>, Problem> {
        let mut classes = self.classes();
        let listed = match classes.is_empty() {
            true => "there is none yet".to_owned(),
            false => format!("there are {}", join(classes.keys())),
        };
        match wanted.cloned().or_else(|| self.default_class()) {
            Some(name) => classes.remove(&name).ok_or_else(|| {
                Problem::new(
                    ErrorKind::NotFound,
                    format!("no class is called {name}; {listed}"),
                )
                .hint("sutler class ls")
            }),
            None if classes.is_empty() => Err(Problem::new(
                ErrorKind::NotFound,
                "there is no class to make a volume from, because no plugin was added",
            )
            .hint(
                "sutler plugin add IMAGE; or start `sutler up` again: it adds the plugin local, \
                 if it finds its image",
            )),
            None => Err(Problem::new(
                ErrorKind::Invalid,
                format!("no class is named and none is the default; {listed}"),
            )
            .hint("name one with --class")),
        }
    }
}

impl Class<'_> {
    /// Gives the parameters for CreateVolume: the class's, checked and with defaults.
    pub(crate) fn parameters(&self) -> Result<BTreeMap<String, String>, Problem> {
        let parameters = self.plugin.definition.parameters_of(&self.definition);
        for param in &self.plugin.definition.params {
            if param.required && !parameters.contains_key(&param.key) {
                return Err(Problem::new(
                    ErrorKind::Invalid,
                    format!(
                        "class {} lacks the parameter {:?} that plugin {} requires",
                        self.name, param.key, self.plugin.name
                    ),
                )
                .hint("use another class, or set it in the plugin's definition"));
            }
        }
        check_values(&self.name, &parameters, &self.plugin.definition)?;
        Ok(parameters)
    }
}

/// Checks that each documented parameter has an allowed value.
pub(crate) fn check_values(
    class: &ClassName,
    parameters: &BTreeMap<String, String>,
    definition: &PluginDefinition,
) -> Result<(), Problem> {
    for param in definition
        .params
        .iter()
        .filter(|param| !param.values.is_empty())
    {
        let Some(value) = parameters.get(&param.key) else {
            continue;
        };
        if !param.values.contains(value) {
            return Err(Problem::new(
                ErrorKind::Invalid,
                format!(
                    "class {class} sets {} to {value:?}; allowed are {}",
                    param.key,
                    join(&param.values)
                ),
            ));
        }
    }
    Ok(())
}

/// Joins names for an error text.
pub(crate) fn join<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}
