//! Having an image here: from the store, or pulled with progress.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sutler_api::task::PullProgressView;
use sutler_ids::{Bytes, Problem};
use sutler_images::{Digest, Image, ImageReference, PullOptions, PullPolicy, PullProgress};

use crate::host::{Host, blocking};
use crate::problems;

/// Least time between two reports of progress: quick enough for an eye, no load for the master.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// An image that somebody needs.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Who, for texts: `task x`, `plugin y`.
    pub owner: String,
    /// The reference as given.
    pub reference: String,
    /// Whether to ask the registry even if it was resolved before.
    pub always: bool,
    /// The digest that was settled on earlier, and is used as long as it is here.
    pub pinned: Option<String>,
    /// The digest that is better than none when its source is gone.
    pub fallback: Option<String>,
}

/// Has the image here.
pub(crate) async fn pull(
    host: &Host,
    wanted: Wanted,
    tell: impl Fn(PullProgressView) + Send + Sync + 'static,
) -> Result<Arc<Image>, Problem> {
    if let Some(image) = kept(host, wanted.pinned.as_deref()).await {
        return Ok(Arc::new(image));
    }
    let reference: ImageReference = wanted.reference.parse().map_err(|error| {
        let error: sutler_images::ReferenceError = error;
        problems::of_reference(&wanted.owner, &wanted.reference, error.to_string())
    })?;
    let mut options = PullOptions::new(host.auth.clone());
    if wanted.always {
        options.policy = PullPolicy::Always;
    }
    let meter = Meter::new(tell);
    options.progress = Arc::new(move |step| meter.on_step(&step));
    match host.images.ensure(&reference, &options).await {
        Ok(image) => Ok(Arc::new(image)),
        Err(error) => match kept(host, wanted.fallback.as_deref()).await {
            Some(image) => {
                let raw = sutler_telemetry::chain(&error);
                tracing::warn!(
                    owner = wanted.owner,
                    raw,
                    "image source is gone, using the kept one"
                );
                Ok(Arc::new(image))
            }
            None => Err(problems::of_image(&wanted.owner, &reference, &error)),
        },
    }
}

async fn kept(host: &Host, digest: Option<&str>) -> Option<Image> {
    let digest: Digest = digest?.parse().ok()?;
    let images = host.images.clone();
    let found = blocking(move || images.get(&digest).map_err(|e| sutler_telemetry::chain(&e)));
    found.await.ok().flatten()
}

/// Adds up what the layers of a pull tell, and passes it on now and then.
struct Meter<F> {
    tell: F,
    state: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    done: BTreeMap<Digest, u64>,
    total: u64,
    told: Option<Instant>,
}

impl<F: Fn(PullProgressView)> Meter<F> {
    fn new(tell: F) -> Self {
        Self {
            tell,
            state: Mutex::new(Counts::default()),
        }
    }

    fn on_step(&self, step: &PullProgress) {
        let mut counts = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at_once = match step {
            PullProgress::Resolved { bytes_total, .. } => {
                counts.total = *bytes_total;
                true
            }
            PullProgress::Downloading {
                layer, bytes_done, ..
            }
            | PullProgress::Resuming {
                layer, bytes_done, ..
            } => {
                counts.done.insert(*layer, *bytes_done);
                false
            }
            PullProgress::Present { .. }
            | PullProgress::LayerPresent { .. }
            | PullProgress::Unpacking { .. }
            | PullProgress::LayerDone { .. }
            | PullProgress::Done { .. } => return,
        };
        let now = Instant::now();
        if !at_once && counts.told.is_some_and(|told| now - told < TELL_EVERY) {
            return;
        }
        counts.told = Some(now);
        let done = Bytes(
            counts
                .done
                .values()
                .fold(0, |sum: u64, n| sum.saturating_add(*n)),
        );
        (self.tell)(PullProgressView {
            done,
            total: Bytes(counts.total),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_adds_up_over_layers_and_is_told_seldom() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let meter = Meter::new(move |view| sink.lock().expect("one thread").push(view));
        let layer = Digest::of(b"layer");
        meter.on_step(&PullProgress::Resolved {
            digest: layer,
            layers: 1,
            bytes_total: 100,
        });
        for bytes_done in 0..1000 {
            meter.on_step(&PullProgress::Downloading {
                layer,
                bytes_done,
                bytes_total: 100,
            });
        }
        let told = told.lock().expect("one thread");
        assert_eq!(
            told[0],
            PullProgressView {
                done: Bytes(0),
                total: Bytes(100)
            }
        );
        assert!(told.len() < 10, "told {} times at once", told.len());
    }
}
