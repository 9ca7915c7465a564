//! Who may come to a control plane: the kubeconfigs, and the keys and certificates that go with them.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// The users: name, groups. The token of each is its name with `-token` behind it.
pub(crate) const USERS: [(&str, &str); 6] = [
    ("admin", "system:masters"),
    ("dev", "developers"),
    ("ops", "operators"),
    ("ci", "ci"),
    ("system:kube-controller-manager", ""),
    (NODE, "system:nodes"),
];
/// What the kubeconfig of [`crate::ControlPlane::FORGER`] says of its user. kubectl 1.33 has no flag for that.
pub(crate) const FORGER: &str = "token: admin-token, as: 'system:serviceaccount:gitward-system:gitward-reconciler', \
                      as-user-extra: {authentication.kubernetes.io/pod-name: [forged]}";
/// The account of the simulated node.
pub(crate) const NODE: &str = "system:node:kwok";

pub(crate) fn kubeconfig(dir: &Path, user: &str) -> PathBuf {
    dir.join(format!("{}.kubeconfig", user.replace(':', "-")))
}

pub(crate) fn write_kubeconfig(dir: &Path, port: u16, user: &str) {
    write_config(dir, &https(port), user, &format!("token: {user}-token"));
}

pub(crate) fn https(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}

pub(crate) fn write_config(dir: &Path, server: &str, name: &str, user: &str) -> PathBuf {
    let path = kubeconfig(dir, name);
    let ca = dir.join("ca.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{server}\", \
         certificate-authority: {ca}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n",
        ca = ca.display()
    );
    write(&path, &text);
    path
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A certificate authority, the API server's certificate, the key of service account tokens, the users' tokens.
pub(crate) fn write_pki(dir: &Path) {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"].map(str::to_owned).to_vec();
    let server = CertificateParams::new(names).expect("names");
    let certificate = server.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("a certificate");
    write(&dir.join("ca.crt"), &ca_certificate.pem());
    write(&dir.join("apiserver.crt"), &certificate.pem());
    write(&dir.join("apiserver.key"), &key.serialize_pem());
    let accounts = KeyPair::generate().expect("a key");
    write(&dir.join("accounts.key"), &accounts.serialize_pem());
    write(&dir.join("accounts.pub"), &accounts.public_key_pem());
    let tokens: String =
        USERS.iter().map(|(user, groups)| format!("{user}-token,{user},{user},\"{groups}\"\n")).collect();
    write(&dir.join("tokens.csv"), &tokens);
}
