//! An AdmissionReview as the API server sends it (`admission.k8s.io/v1`), read in two steps.
//!
//! The first step borrows: who asks, what for, and the two objects as unread bytes. Only when the answer depends on
//! the objects are they parsed: most reviews are decided without, and an object may be megabytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::object::Object;
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
    /// `object` or `oldObject` is no Kubernetes object.
    #[error("the review's {field} is no Kubernetes object: {source}")]
    Object {
        /// `object` or `oldObject`.
        field: &'static str,
        /// What the JSON parser said.
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(default, borrow)]
    api_version: Cow<'a, str>,
    #[serde(default, borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    request: Option<Request<'a>>,
}

/// The request of an AdmissionReview. Fields that no rule reads are left out.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Identifies the request; the answer repeats it.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of `object`: for `*/scale` it is Scale, not the parent's.
    #[serde(borrow)]
    pub kind: Gvk<'a>,
    /// The resource that the request is about: for `*/scale` the parent's.
    #[serde(borrow)]
    pub resource: Gvr<'a>,
    /// `scale`, `status` …; empty for the object itself.
    #[serde(default, borrow)]
    pub sub_resource: Cow<'a, str>,
    /// Empty where the server makes the name up, and for the deletions of a deletecollection.
    #[serde(default, borrow)]
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects, except Namespaces, which carry their own name.
    #[serde(default, borrow)]
    pub namespace: Cow<'a, str>,
    /// What is to be done.
    pub operation: Operation,
    /// Who asks.
    #[serde(borrow)]
    pub user_info: UserInfo<'a>,
    /// The object as it would be stored; null for DELETE.
    #[serde(default, borrow)]
    object: Option<&'a RawValue>,
    /// The object as it is stored; null for CREATE and CONNECT.
    #[serde(default, borrow)]
    old_object: Option<&'a RawValue>,
    /// Nothing will be stored: the same answer is due, but no record.
    #[serde(default)]
    pub dry_run: Option<bool>,
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
        let review: Envelope<'a> = serde_json::from_slice(body).map_err(ReviewError::Malformed)?;
        if review.kind != "AdmissionReview" || review.api_version != "admission.k8s.io/v1" {
            let (kind, api_version) = (review.kind.into_owned(), review.api_version.into_owned());
            return Err(ReviewError::Kind { kind, api_version });
        }
        review.request.ok_or(ReviewError::NoRequest)
    }

    /// Whether nothing will be stored.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }

    /// The second step: the object as it is stored. `None` for CREATE and CONNECT.
    ///
    /// # Errors
    /// Where it is no Kubernetes object.
    pub fn old(&self) -> Result<Option<Object<'a>>, ReviewError> {
        read("oldObject", self.old_object)
    }

    /// The second step: the object as it would be stored. `None` for DELETE.
    ///
    /// # Errors
    /// Where it is no Kubernetes object.
    pub fn new_object(&self) -> Result<Option<Object<'a>>, ReviewError> {
        read("object", self.object)
    }
}

fn read<'a>(field: &'static str, raw: Option<&'a RawValue>) -> Result<Option<Object<'a>>, ReviewError> {
    let read = |raw: &'a RawValue| Object::read(Json::from(raw));
    raw.map(read).transpose().map_err(|source| ReviewError::Object { field, source })
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
