//! Pages of lists: in the order of their keys, from after one of them, with where the next begins
//! in the header `Link` (RFC 8288).

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sutler_cluster_core::Books;
use sutler_ids::{ErrorKind, Problem};

use super::App;
use super::refusal::Refusal;

/// Longest page, and what is given when nothing is said: some hundred kilobytes.
const PAGE_MAX: usize = 1000;

/// Query of every list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Begin after this name.
    after: Option<String>,
    /// Longest page, 1 to 1000; 1000 if nothing is said. If there is more, the header `Link` names
    /// the next page.
    limit: Option<usize>,
}

/// A part of a list.
pub(crate) struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl PageQuery {
    /// Reads a page of a list at `path`; `list` gives so many entries after a key.
    ///
    /// # Errors
    /// `Invalid` for a key or a limit that cannot be.
    pub(super) async fn page<K, T>(
        self,
        app: &Arc<App>,
        path: &str,
        list: fn(&Books, Option<&K>, usize) -> Vec<T>,
        key: fn(&T) -> &K,
    ) -> Result<Page<T>, Refusal>
    where
        K: FromStr<Err: Display> + Display + Send + 'static,
        T: Send + 'static,
    {
        let limit = self.limit.unwrap_or(PAGE_MAX);
        if limit == 0 || limit > PAGE_MAX {
            return Err(invalid(format!("limit must be 1 to {PAGE_MAX}")).into());
        }
        let after: Option<K> = self
            .after
            .map(|text| {
                text.parse()
                    .map_err(|error| invalid(format!("after: {error}")))
            })
            .transpose()?;
        // One more than is given tells whether there is more.
        let read = move |books: &Books| Ok(list(books, after.as_ref(), limit + 1));
        let mut items = app.shell.read(read).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more).map(key);
        let next = last.map(|last| format!("<{path}?after={last}&limit={limit}>; rel=\"next\""));
        Ok(Page { items, next })
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        let next = self.next.map(|next| [(header::LINK, next)]);
        (next, Json(self.items)).into_response()
    }
}

fn invalid(what: String) -> Problem {
    Problem::new(ErrorKind::Invalid, what)
}
