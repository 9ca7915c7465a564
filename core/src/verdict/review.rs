//! An AdmissionReview as the API server sends it (`admission.k8s.io/v1`), read in two steps.
//!
//! The first step reads who asks and what for, and stops where the objects begin: most reviews are decided without
//! them, and an object may be megabytes. The second reads all of it, and still leaves what is in the objects unread.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::envelope::read;
use crate::fields::Object;
use crate::json::{Json, Text};

/// Why a body is no review that can be judged.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// Not JSON, or not of the form of an AdmissionReview.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[source] serde_json::Error),
    /// Another kind, or another version of it.
    #[error("the body is {kind:?} of {api_version:?}, not AdmissionReview of \"admission.k8s.io/v1\"")]
    Kind {
        /// What stands in `kind`.
        kind: String,
        /// What stands in `apiVersion`.
        api_version: String,
    },
    /// A review without a request, such as an answer sent back.
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

/// The request of an AdmissionReview. Fields that no rule reads are left out.
#[derive(Debug)]
pub struct Request<'a> {
    /// Identifies the request; the answer repeats it.
    pub uid: Cow<'a, str>,
    /// The kind of `object`: for `*/scale` it is Scale, not the parent's.
    pub kind: Gvk<'a>,
    /// The resource that the request is about: for `*/scale` the parent's.
    pub resource: Gvr<'a>,
    /// `scale`, `status` …; empty for the object itself.
    pub sub_resource: Cow<'a, str>,
    /// Empty where the server makes the name up, and for the deletions of a deletecollection.
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects, except Namespaces, which carry their own name.
    pub namespace: Cow<'a, str>,
    /// What is to be done.
    pub operation: Operation,
    /// Who asks.
    pub user_info: UserInfo<'a>,
    /// The object as it would be stored. `None` for DELETE.
    pub object: Option<Object<'a>>,
    /// The object as it is stored. `None` for CREATE and CONNECT.
    pub old_object: Option<Object<'a>>,
    /// Nothing will be stored: the same answer is due, but no record.
    pub dry_run: bool,
}

/// What is to be done with the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// A new object.
    Create,
    /// A change; also every server-side apply to an existing object.
    Update,
    /// A deletion, one review per object also for a collection.
    Delete,
    /// exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// As the API server writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// Group, version and kind.
#[derive(Debug, Default, Deserialize)]
pub struct Gvk<'a> {
    /// Empty for the core API.
    #[serde(default, borrow)]
    pub group: Cow<'a, str>,
    /// Such as `v1`.
    #[serde(default, borrow)]
    pub version: Cow<'a, str>,
    /// Such as `Deployment`.
    #[serde(default, borrow)]
    pub kind: Cow<'a, str>,
}

/// Group, version and plural resource name.
#[derive(Debug, Default, Deserialize)]
pub struct Gvr<'a> {
    /// Empty for the core API.
    #[serde(default, borrow)]
    pub group: Cow<'a, str>,
    /// Such as `v1`.
    #[serde(default, borrow)]
    pub version: Cow<'a, str>,
    /// Such as `deployments`.
    #[serde(default, borrow)]
    pub resource: Cow<'a, str>,
}

/// Who asks, as the API server authenticated it (`authentication.k8s.io/v1`).
#[derive(Debug, Default, Deserialize)]
pub struct UserInfo<'a> {
    /// The user's name.
    #[serde(default, borrow)]
    pub username: Cow<'a, str>,
    /// Empty for impersonations and client certificates.
    #[serde(default, borrow)]
    pub uid: Cow<'a, str>,
    #[serde(default, borrow)]
    groups: Option<&'a RawValue>,
    /// What the authenticator adds, such as the pod that a token is bound to.
    #[serde(default, borrow)]
    pub extra: Option<Extra<'a>>,
}

/// The keys of `userInfo.extra` that say how a caller proved who it is.
#[derive(Debug, Default, Deserialize)]
pub struct Extra<'a> {
    /// The pod that the token is bound to.
    #[serde(default, borrow, rename = "authentication.kubernetes.io/pod-name")]
    pub pod_name: Vec<Cow<'a, str>>,
    /// The uid of that pod.
    #[serde(default, borrow, rename = "authentication.kubernetes.io/pod-uid")]
    pub pod_uid: Vec<Cow<'a, str>>,
    /// `JTI=…` for a service account's token, `X509SHA256=…` for a client certificate.
    #[serde(default, borrow, rename = "authentication.kubernetes.io/credential-id")]
    pub credential_id: Vec<Cow<'a, str>>,
}

impl<'a> Request<'a> {
    /// Reads the body of an admission call.
    ///
    /// # Errors
    /// Where it is no AdmissionReview of `admission.k8s.io/v1` with a request.
    pub fn parse(body: &'a [u8]) -> Result<Request<'a>, ReviewError> {
        read(body, false).map(|request| request.0)
    }

    /// Reads the body up to the objects: who asks, and what for. `None` where that does not come first, as the API
    /// server writes it, or is no review: [`Request::parse`] says what is wrong.
    pub fn head(body: &'a [u8]) -> Option<Request<'a>> {
        read(body, true).ok().filter(|(_, stopped)| *stopped).map(|request| request.0)
    }
}

impl UserInfo<'_> {
    /// Whether the caller is in one of some groups. Identity providers send hundreds: they are only read when asked.
    pub fn is_in_any(&self, groups: &[String]) -> bool {
        let Some(own) = self.groups.filter(|_| !groups.is_empty()) else { return false };
        let own: Vec<Text<'_>> = Json::from(own).read().unwrap_or_default();
        own.iter().any(|own| groups.iter().any(|group| *group == own.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_review_is_refused_with_what_it_is() {
        assert!(matches!(Request::parse(b"{"), Err(ReviewError::Malformed(_))));
        assert!(matches!(Request::parse(b"{\"kind\":\"Pod\",\"apiVersion\":\"v1\"}"), Err(ReviewError::Kind { .. })));
        let empty = br#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}"#;
        assert!(matches!(Request::parse(empty), Err(ReviewError::NoRequest)));
    }
}
