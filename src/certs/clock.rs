//! What time it is to those who check the guard's certificate: by the API server's clock, not by ours. A reconciler whose
//! clock is wrong would make certificates that nobody takes.

use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tracing::warn;

/// From this difference on it is worth a word.
const WRONG: SignedDuration = SignedDuration::from_mins(5);

/// The API server's time (header `Date` of its answers); ours where it tells none.
///
/// # Errors
/// Where it cannot be asked.
pub async fn now(client: &Client) -> Result<Timestamp, kube::Error> {
    let request = axum::http::Request::get("/version").body(Body::empty()).map_err(kube::Error::HttpError)?;
    let answer = client.send(request).await?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| Some(jiff::fmt::rfc2822::parse(date).ok()?.timestamp())) else {
        return Ok(Timestamp::now());
    };
    let ours = Timestamp::now();
    if ours.duration_since(theirs).abs() > WRONG {
        warn!(%ours, api_server = %theirs, "our clock is wrong; certificates are made by the API server's");
    }
    Ok(theirs)
}
