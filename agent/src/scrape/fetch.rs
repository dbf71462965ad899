//! Getting a page: one HTTP GET, bounded in time and bytes.

use std::sync::Mutex;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Certificate, Client, redirect};
use tokio::sync::Semaphore;

use super::ScrapeError;
use super::job::{Auth, Job, Secret, Tls};
use super::target::Target;

/// OpenMetrics first, then the plain text format, then whatever there is.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const USER_AGENT: &str = concat!("Weir/", env!("CARGO_PKG_VERSION"));
/// Idle connections are kept this long: longer than the usual interval, so that each scrape finds its connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(150);

/// A page as received.
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) content_type: String,
}

/// Why there is no page. The text is what the target's `lastError` would be.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("{0}")]
    Http(String),
    #[error("server returned HTTP status {0}")]
    Status(http::StatusCode),
    #[error("the page has more than {0} bytes (body_size_limit)")]
    TooLarge(u64),
    #[error("{path}: {error}")]
    Secret { path: std::path::PathBuf, error: std::io::Error },
    #[error("the credentials hold bytes that no header may have")]
    Credentials,
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// HTTP clients by what they must be told when made; jobs that agree share one, and its connections.
#[derive(Default)]
pub(super) struct Clients {
    made: Mutex<Vec<(ClientKey, Client)>>,
}

#[derive(Clone, PartialEq, Eq)]
struct ClientKey {
    tls: Tls,
    compression: bool,
    follow_redirects: bool,
}

impl Clients {
    pub(super) fn client_of(&self, job: &Job) -> Result<Client, ScrapeError> {
        let key =
            ClientKey { tls: job.tls.clone(), compression: job.compression, follow_redirects: job.follow_redirects };
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, client)) = made.iter().find(|(known, _)| *known == key) {
            return Ok(client.clone());
        }
        let client = make(&key).map_err(|message| ScrapeError::Client { job: job.name.clone(), message })?;
        made.push((key, client.clone()));
        Ok(client)
    }
}

fn make(key: &ClientKey) -> Result<Client, String> {
    let redirects = if key.follow_redirects { redirect::Policy::limited(10) } else { redirect::Policy::none() };
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .gzip(key.compression)
        .redirect(redirects)
        .no_proxy()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .tls_danger_accept_invalid_certs(key.tls.insecure_skip_verify);
    if let Some(path) = &key.tls.ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| format!("ca_file {}: {error}", path.display()))?;
        builder = builder.tls_certs_only(certificates);
    }
    builder.build().map_err(|error| with_causes(&error))
}

/// Asks for the page of `target`. A place among `pages` is held from the first byte of the body to the last.
pub(super) async fn fetch(
    client: &Client,
    (job, target): (&Job, &Target),
    pages: &Semaphore,
) -> Result<Fetched, FetchError> {
    tokio::time::timeout(target.timeout, fetch_unbounded(client, (job, target), pages))
        .await
        .unwrap_or(Err(FetchError::Timeout(target.timeout)))
}

async fn fetch_unbounded(
    client: &Client,
    (job, target): (&Job, &Target),
    pages: &Semaphore,
) -> Result<Fetched, FetchError> {
    let mut request = client
        .get(target.url.clone())
        .header(ACCEPT, ACCEPTED)
        .header("x-prometheus-scrape-timeout-seconds", target.timeout.as_secs_f64().to_string());
    request = match &job.auth {
        Auth::None => request,
        Auth::Basic { username, password } => request.basic_auth(username, Some(load(password).await?)),
        Auth::Header { scheme, credentials } => {
            let value = format!("{scheme} {}", load(credentials).await?);
            let mut value = HeaderValue::from_str(&value).map_err(|_| FetchError::Credentials)?;
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        }
    };
    let mut response = request.send().await.map_err(|error| FetchError::Http(with_causes(&error)))?;
    if response.status() != http::StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    // The semaphore is never closed.
    let _place = pages.acquire().await.ok();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| FetchError::Http(with_causes(&error)))? {
        if (body.len() + chunk.len()) as u64 > job.body_bytes_max {
            return Err(FetchError::TooLarge(job.body_bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { body, content_type })
}

async fn load(secret: &Secret) -> Result<String, FetchError> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => Err(FetchError::Secret { path: path.clone(), error }),
        },
    }
}

/// reqwest says "error sending request" and hides "connection refused" behind it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
