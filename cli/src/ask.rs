//! Asking a running Weir over HTTP, with errors that say what to do.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::Value;

/// Longest wait for an answer: the server's own limit of two minutes and a little.
const TIMEOUT: Duration = Duration::from_secs(130);

/// Which Weir to ask.
#[derive(Args)]
pub(crate) struct Target {
    /// The collector to ask
    #[arg(long, env = "WEIR_URL", default_value = "http://127.0.0.1:9347", value_name = "URL")]
    url: String,
}

/// How to ask.
pub(crate) enum Request<'a> {
    /// GET with query parameters.
    Get(&'a [(&'a str, String)]),
    /// POST of a form.
    Form(&'a [(&'a str, String)]),
    /// POST of JSON.
    Json(Value),
}

impl Target {
    /// Asks `path` and waits for the JSON answer.
    pub(crate) fn ask(&self, path: &str, request: &Request<'_>) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.ask_async(path, request))
    }

    async fn ask_async(&self, path: &str, request: &Request<'_>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let request = match request {
            Request::Get(query) => client.get(&url).query(query),
            Request::Form(form) => client.post(&url).form(form),
            Request::Json(body) => client.post(&url).json(body),
        };
        let answer = request.send().await.map_err(|error| self.explain(&error))?;
        let status = answer.status();
        let text = answer.text().await.context("the answer broke off")?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            if body.is_null() {
                bail!("{url} answered something that is not JSON; is it a Weir collector?");
            }
            return Ok(body);
        }
        let said = body["error"].as_str().or(body["message"].as_str()).unwrap_or(text.trim());
        bail!("{said}{}", if said.is_empty() { format!("{url} answered {status}") } else { String::new() });
    }

    fn explain(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            return anyhow!(
                "nothing answers at {}; start one with `weir up`, or name it with --url or WEIR_URL",
                self.url
            );
        }
        if error.is_timeout() {
            return anyhow!("{} did not answer within {} s", self.url, TIMEOUT.as_secs());
        }
        anyhow!("{}: {error}", self.url)
    }
}
