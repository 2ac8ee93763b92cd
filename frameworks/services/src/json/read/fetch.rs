//! What instances have fetched: `fetch`, or `uris` as older Marathons have it.

use proffer_model::Fetch;
use serde_json::{Map, Value};

use super::{Reader, given, path};

impl Reader {
    /// `uris` are unpacked if they are archives, as Marathon has it.
    pub(super) fn fetches(&mut self, map: &Map<String, Value>) -> Option<Vec<Fetch>> {
        let uris = self.list(map, "uris");
        let fetch = self.list(map, "fetch");
        match (uris, fetch) {
            (None, None) => None,
            (Some(uris), None) => Some(self.uris(uris)),
            (Some(uris), Some(all)) if !uris.is_empty() && !all.is_empty() => {
                self.refuse("uris", "uris and fetch are both given", "give fetch alone");
                None
            }
            (_, Some(all)) if !all.is_empty() => {
                let all = all.iter().enumerate();
                Some(all.filter_map(|(i, one)| self.fetch(i, one)).collect())
            }
            (uris, _) => Some(uris.map(|uris| self.uris(uris)).unwrap_or_default()),
        }
    }

    fn uris(&mut self, uris: &[Value]) -> Vec<Fetch> {
        let mut all = Vec::new();
        for (i, uri) in uris.iter().enumerate() {
            match uri.as_str() {
                Some(uri) => all.push(Fetch {
                    is_extracted: true,
                    ..Fetch::new(uri)
                }),
                None => self.refuse(
                    &format!("uris[{i}]"),
                    "error.expected.jsstring",
                    "give a text in quotes",
                ),
            }
        }
        all
    }

    fn fetch(&mut self, i: usize, value: &Value) -> Option<Fetch> {
        let field = format!("fetch[{i}]");
        let map = self.object(value, &field)?;
        let Some(uri) = self.text(map, &field, "uri") else {
            if given(map, "uri").is_none() {
                self.refuse(&path(&field, "uri"), "error.path.missing", "give a URI");
            }
            return None;
        };
        let mut flag = |name: &str, usual: bool| self.boolean(map, name).unwrap_or(usual);
        let (is_executable, is_cached) = (flag("executable", false), flag("cache", false));
        let is_extracted = flag("extract", true) && !is_executable;
        Some(Fetch {
            uri,
            output: self.text(map, &field, "destPath"),
            is_executable,
            is_extracted,
            is_cached,
            sha256: self.text(map, &field, "sha256"),
        })
    }
}
