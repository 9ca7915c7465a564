//! The reading of an AdmissionReview's JSON, member by member.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::review::{Gvk, Gvr, Operation, Request, ReviewError, UserInfo};
use crate::fields::Object;
use crate::json::Text;

/// Reads a review: the whole of it, or only up to the objects. Says whether it stopped there.
pub(super) fn read(body: &[u8], head: bool) -> Result<(Request<'_>, bool), ReviewError> {
    let mut draft = Draft { head, ..Draft::default() };
    let read = if head {
        from(serde_json::Deserializer::from_slice(body), &mut draft)
    } else {
        // All of it is read: looking for bytes that are no UTF-8 once is cheaper than in every string.
        let text =
            std::str::from_utf8(body).map_err(|error| ReviewError::Malformed(serde_json::Error::custom(error)))?;
        from(serde_json::Deserializer::from_str(text), &mut draft)
    };
    match read {
        Err(_) if draft.stopped => {}
        other => other.map_err(ReviewError::Malformed)?,
    }
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
    if draft.kind.as_deref() != Some("AdmissionReview") || draft.api_version.as_deref() != Some("admission.k8s.io/v1") {
        return Err(ReviewError::Kind { kind: text(&draft.kind), api_version: text(&draft.api_version) });
    }
    let stopped = draft.stopped;
    draft.request().map(|request| (request, stopped))
}

fn from<'de, R: serde_json::de::Read<'de>>(
    mut deserializer: serde_json::Deserializer<R>,
    draft: &mut Draft<'de>,
) -> Result<(), serde_json::Error> {
    Envelope(draft).deserialize(&mut deserializer).and_then(|()| deserializer.end())
}

/// What was read so far.
#[derive(Default)]
struct Draft<'a> {
    /// Whether to stop where the objects begin.
    head: bool,
    stopped: bool,
    api_version: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    has_request: bool,
    uid: Option<Cow<'a, str>>,
    object_kind: Option<Gvk<'a>>,
    resource: Option<Gvr<'a>>,
    sub_resource: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    namespace: Option<Cow<'a, str>>,
    operation: Option<Operation>,
    user_info: Option<UserInfo<'a>>,
    object: Option<Option<Object<'a>>>,
    old_object: Option<Option<Object<'a>>>,
    dry_run: Option<Option<bool>>,
}

impl<'a> Draft<'a> {
    fn request(self) -> Result<Request<'a>, ReviewError> {
        if !self.has_request {
            return Err(ReviewError::NoRequest);
        }
        let missing = |field: &'static str| ReviewError::Malformed(serde_json::Error::missing_field(field));
        Ok(Request {
            uid: self.uid.ok_or_else(|| missing("uid"))?,
            kind: self.object_kind.ok_or_else(|| missing("kind"))?,
            resource: self.resource.ok_or_else(|| missing("resource"))?,
            sub_resource: self.sub_resource.unwrap_or_default(),
            name: self.name.unwrap_or_default(),
            namespace: self.namespace.unwrap_or_default(),
            operation: self.operation.ok_or_else(|| missing("operation"))?,
            user_info: self.user_info.ok_or_else(|| missing("userInfo"))?,
            object: self.object.flatten(),
            old_object: self.old_object.flatten(),
            dry_run: self.dry_run.flatten().unwrap_or(false),
        })
    }
}

/// Takes a member's value. Two members of one name could say two things: the API server sends none.
fn once<'de, T, A>(slot: &mut Option<T>, name: &'static str, map: &mut A) -> Result<(), A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    if slot.replace(map.next_value()?).is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    Ok(())
}

fn once_text<'de, A>(slot: &mut Option<Cow<'de, str>>, name: &'static str, map: &mut A) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
{
    let mut text: Option<Text<'de>> = slot.take().map(Text);
    once(&mut text, name, map)?;
    *slot = text.map(|text| text.0);
    Ok(())
}

struct Envelope<'d, 'a>(&'d mut Draft<'a>);

impl<'de> DeserializeSeed<'de> for Envelope<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_request = false;
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "apiVersion" => once_text(&mut self.0.api_version, "apiVersion", &mut map)?,
                "kind" => once_text(&mut self.0.kind, "kind", &mut map)?,
                "request" if std::mem::replace(&mut has_request, true) => {
                    return Err(A::Error::duplicate_field("request"));
                }
                "request" => map.next_value_seed(RequestOf(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct RequestOf<'d, 'a>(&'d mut Draft<'a>);

impl<'de> DeserializeSeed<'de> for RequestOf<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for RequestOf<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request of an AdmissionReview")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let draft = self.0;
        draft.has_request = true;
        while let Some(Text(key)) = map.next_key()? {
            match &*key {
                "uid" => once_text(&mut draft.uid, "uid", &mut map)?,
                "kind" => once(&mut draft.object_kind, "kind", &mut map)?,
                "resource" => once(&mut draft.resource, "resource", &mut map)?,
                "subResource" => once_text(&mut draft.sub_resource, "subResource", &mut map)?,
                "name" => once_text(&mut draft.name, "name", &mut map)?,
                "namespace" => once_text(&mut draft.namespace, "namespace", &mut map)?,
                "operation" => once(&mut draft.operation, "operation", &mut map)?,
                "userInfo" => once(&mut draft.user_info, "userInfo", &mut map)?,
                "object" | "oldObject" if draft.head && draft.user_info.is_some() => {
                    draft.stopped = true;
                    return Err(A::Error::custom("the head is read"));
                }
                "object" => once(&mut draft.object, "object", &mut map)?,
                "oldObject" => once(&mut draft.old_object, "oldObject", &mut map)?,
                "dryRun" => once(&mut draft.dry_run, "dryRun", &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
