//! Names that become a part of a URL. They come from owner references and reviews, so from whoever writes those. Pure.

use gitward_core::text::bounded;
use gitward_core::verdict::{By, ObjectName, TypeName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use thiserror::Error;

/// What stands in a segment of a path as it is (RFC 3986), with the colon of `system:…`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
/// Longest name of a group or namespace, as everywhere in Kubernetes.
const LONGEST_SUBDOMAIN: usize = 253;
/// Longest version, kind or plural.
const LONGEST_LABEL: usize = 63;
/// Longest name of an object, in bytes. Those that are not DNS names, such as of RBAC, have no bound of their own.
const LONGEST_NAME: usize = 1024;
/// Longest part of an invalid name that an error shows, in bytes.
const SHOWN: usize = 80;

/// A name that no object or type in Kubernetes can have.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{what} {text:?} is not valid")]
pub(super) struct InvalidName {
    what: &'static str,
    text: String,
}

/// Checks the name of a type.
pub(super) fn check_type(of: &TypeName) -> Result<(), InvalidName> {
    check("the API group", &of.group, of.group.is_empty() || is_subdomain(&of.group))?;
    match &of.by {
        By::Resource(plural) => {
            check("the version", &of.version, is_label(&of.version, false))?;
            check("the resource", plural, is_label(plural, false))
        }
        // Its version is the one that discovery prefers.
        By::Kind(kind) => check("the kind", kind, is_label(kind, true)),
    }
}

/// Checks the name of a namespace; empty for none.
pub(super) fn check_namespace(namespace: &str) -> Result<(), InvalidName> {
    check("the namespace", namespace, namespace.is_empty() || is_label(namespace, false))
}

/// The name of an object as a segment of a path.
pub(super) fn segment(ObjectName { of, namespace, name }: &ObjectName) -> Result<String, InvalidName> {
    check_type(of)?;
    check_namespace(namespace)?;
    // The rule of the API server for every name (`ValidatePathSegmentName`); more are valid than DNS names.
    let is_segment = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    check("the name", name, is_segment && name.len() <= LONGEST_NAME)?;
    Ok(utf8_percent_encode(name, ESCAPED).to_string())
}

fn check(what: &'static str, text: &str, is_valid: bool) -> Result<(), InvalidName> {
    if is_valid { Ok(()) } else { Err(InvalidName { what, text: bounded(text, SHOWN).into_owned() }) }
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= LONGEST_SUBDOMAIN && text.split('.').all(|label| is_label(label, false))
}

fn is_label(text: &str, capitals: bool) -> bool {
    let is_inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || (capitals && byte.is_ascii_uppercase())
    };
    (1..=LONGEST_LABEL).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> ObjectName {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let of = TypeName { group: group.into(), version: version.into(), by: By::Kind(kind.into()) };
        ObjectName { of, namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn what_kubernetes_takes_is_taken_and_escaped() {
        for (api_version, kind, name, expected) in [
            ("v1", "Pod", "web-0", "web-0"),
            ("apps/v1", "Deployment", "web", "web"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", "system:node", "system:node"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", "web?x=1#a b", "web%3Fx%3D1%23a%20b"),
            ("rbac.authorization.k8s.io/v1beta1", "ClusterRole", "é", "%C3%A9"),
        ] {
            assert_eq!(segment(&object(api_version, kind, "shop", name)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_version_that_none_is_called_never_reaches_a_url() {
        for version in ["", "v1/../../x", "v1?x=1"] {
            let of = TypeName { group: "apps".into(), version: version.into(), by: By::Resource("deployments".into()) };
            assert!(check_type(&of).is_err(), "{version}");
        }
    }

    #[test]
    fn what_no_object_is_called_never_reaches_a_url() {
        let long = "x".repeat(2000);
        for (api_version, kind, namespace, name) in [
            ("v1", "Pod", "shop", "a/../.."),
            ("v1", "Pod", "shop", ".."),
            ("v1", "Pod", "shop", "."),
            ("v1", "Pod", "shop", "a%2fb"),
            ("v1", "Pod", "shop", ""),
            ("v1", "Pod", "shop", &long),
            ("v1", "Pod", "../kube-system", "web"),
            ("v1", "Pod", "shop?x=1", "web"),
            ("..//v1", "Deployment", "shop", "web"),
            ("apps..x/v1", "Deployment", "shop", "web"),
            ("apps/v1", "Deploy/ment", "shop", "web"),
            ("apps/v1", "", "shop", "web"),
        ] {
            let error = segment(&object(api_version, kind, namespace, name)).unwrap_err();
            assert!(error.to_string().len() < 150, "{error}");
        }
    }
}
