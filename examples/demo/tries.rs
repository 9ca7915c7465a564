//! What dev tries to do to the shop by hand. tests/docs does the same again, to compare it with the recording.

/// The arguments of kubectl, and what it reads.
type Try = (&'static [&'static str], Option<&'static str>);

const FORGED: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mine\n  namespace: shop\n  labels:\n    \
                      gitward.dev/sync-name: shop\n    gitward.dev/sync-namespace: gitward-system\n";
const PATCH: &str =
    r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"LOG_LEVEL","value":"debug"}]}]}}}}"#;

/// Each is refused.
pub(crate) const TRIES: [Try; 7] = [
    (&["scale", "deployment/web", "--replicas=5", "-n", "shop"], None),
    (&["set", "image", "deployment/web", "web=shop/web:evil", "-n", "shop"], None),
    (&["patch", "deployment/web", "-n", "shop", "-p", PATCH], None),
    (&["delete", "deployment/web", "-n", "shop"], None),
    (&["label", "deployment/web", "team=mine", "-n", "shop"], None),
    (&["annotate", "deployment/web", "note=mine", "-n", "shop"], None),
    (&["apply", "-f", "-"], Some(FORGED)),
];
