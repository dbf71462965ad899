//! The page: what `npm run build` in `web/` made, carried inside the binary. In goes a path, out come bytes and how to
//! serve them. Addresses that the page draws itself (`/services/cart`) all answer with `index.html`.
//!
//! A binary built without the page still builds and still answers: with the command that makes it whole.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// First path segments that the page draws; everything else belongs to APIs or to nobody.
const ROUTES: [&str; 6] = ["", "services", "traces", "hosts", "graph", "arrivals"];
/// Folder of the files whose names carry a hash of their content.
const HASHED: &str = "assets/";

const UNBUILT: &str = r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>Weir</title>
<style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui;max-width:40rem;margin:15vh auto;padding:0 1rem}
code{background:#8883;padding:.15em .4em;border-radius:4px}</style>
<h1>Weir runs, but its page was not built</h1>
<p>This binary was compiled before the page was. In the source tree, run</p>
<p><code>npm --prefix dashboards/web ci &amp;&amp; npm --prefix dashboards/web run build</code></p>
<p>and compile again (<code>make up</code> does both). The APIs work meanwhile: try <a href="/api/v1/labels">/api/v1/labels</a>.</p>
"#;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/web/dist"]
struct Dist;

/// One file of the page.
#[derive(Debug, Clone)]
pub struct PageFile {
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// Value for `Content-Type`.
    pub content_type: &'static str,
    /// Its name changes with its content, so that it may be cached for ever; otherwise it must be asked for again.
    pub immutable: bool,
}

/// The file of the page at `path` (of the address, with or without its leading slash), or nothing where the page draws
/// nothing. Never answers under `/api`, `/v1`, `/-` and the like.
#[must_use]
pub fn page_file(path: &str) -> Option<PageFile> {
    let path = path.trim_start_matches('/');
    if let Some(file) = Dist::get(path) {
        return Some(PageFile {
            bytes: file.data,
            content_type: content_type(path),
            immutable: path.starts_with(HASHED),
        });
    }
    let first = path.split('/').next().unwrap_or_default();
    if !ROUTES.contains(&first) {
        return None;
    }
    let bytes = Dist::get("index.html").map_or(Cow::Borrowed(UNBUILT.as_bytes()), |file| file.data);
    Some(PageFile { bytes, content_type: content_type("index.html"), immutable: false })
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_the_page_draws_answers_with_html() {
        for path in
            ["/", "", "/services", "/services/shop%2Fcart", "/traces/4bf92f3577b34da6a3ce929d0e0e4736", "/hosts/a"]
        {
            let file = page_file(path).unwrap_or_else(|| panic!("{path} has no page"));
            assert_eq!(file.content_type, "text/html; charset=utf-8");
            assert!(!file.immutable && file.bytes.starts_with(b"<!doctype html>"), "{path}");
        }
    }

    #[test]
    fn addresses_of_apis_are_left_alone() {
        for path in ["/api/v1/query", "/v1/traces", "/-/ready", "/metrics", "/assets/none.js", "/favicon.ico"] {
            assert!(page_file(path).is_none(), "{path}");
        }
    }
}
