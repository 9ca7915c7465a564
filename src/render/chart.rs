//! Getting a chart that is not in the repository, by `helm pull`, and the dependencies of one that is.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::program::{Programs, Run};
use super::{Instructions, RenderError};
use crate::api::Chart;
use crate::source::Checkout;

/// Who we are towards the server of a chart, and whom we trust.
#[derive(Clone, Default)]
pub struct Login {
    /// User name and password or token.
    pub password: Option<(String, String)>,
    /// The authority of the server's certificate, as PEM.
    pub ca: Option<Vec<u8>>,
}

/// Gets a chart, and returns where it lies. A version that is no range is fetched once, and kept in the cache.
pub(super) async fn pull(
    chart: &Chart,
    instructions: &Instructions,
    programs: &Programs,
    home: &Path,
    cache: &Path,
) -> Result<PathBuf, RenderError> {
    let login = &instructions.chart_login;
    let kept = is_exact(&chart.version).then(|| {
        // Who may not fetch a chart does not get it from the cache either.
        let whom = login.password.as_ref().map(|(user, password)| format!("{user}:{password}")).unwrap_or_default();
        let id =
            blake3::hash(format!("{} {} {} {whom}", chart.repository, chart.name, chart.version).as_bytes()).to_hex();
        cache.join("charts").join(format!("{}.tgz", &id[..32]))
    });
    if let Some(kept) = kept.as_ref().filter(|kept| kept.is_file()) {
        return Ok(kept.clone());
    }
    let server = Server::new(&chart.repository, login, home)?;
    let name = if server.is_registry {
        format!("{}/{}", chart.repository.trim_end_matches('/'), chart.name)
    } else {
        server.update(programs, home).await.map_err(|error| explained(error, chart))?;
        format!("{}/{}", ALIAS, chart.name)
    };
    let to = home.join("pulled");
    fs::create_dir(&to)?;
    let mut args = vec!["pull".to_owned(), name, "--version".into(), chart.version.clone(), "--destination".into()];
    args.push(to.display().to_string());
    args.extend(server.arguments());
    let run = Run { program: &programs.helm, name: "helm pull", args, home, network: true };
    run.output().await.map_err(|error| explained(error, chart))?;
    let pulled = fs::read_dir(&to)?.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.is_file());
    let missing = || RenderError::Program { program: "helm pull".into(), message: "it wrote no chart".into() };
    let pulled = pulled.ok_or_else(missing)?;
    let Some(kept) = kept else { return Ok(pulled) };
    fs::create_dir_all(kept.parent().unwrap_or(cache))?;
    // Two may pull the same at a time: a rename replaces as a whole.
    fs::rename(&pulled, &kept)?;
    Ok(kept)
}

/// Says of which chart Helm complains, and what to do.
fn explained(error: RenderError, chart: &Chart) -> RenderError {
    let RenderError::Program { message, .. } = error else { return error };
    let address = format!("{}/{}", chart.repository.trim_end_matches('/'), chart.name);
    RenderError::Chart { chart: address, advice: advice(&message, chart), message }
}

/// What to do about a complaint of Helm. Chart repositories and registries put the same into different words.
fn advice(message: &str, chart: &Chart) -> String {
    const PLACE: &str = "spec.render.helm.chart.secretRef";
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let secret = chart.secret_ref.as_ref().map(|reference| reference.name.as_str());
    if says(&["401", "403", "unauthorized", "denied", "credential not found"]) {
        match secret {
            Some(secret) => format!("check username and password of Secret {secret} ({PLACE})"),
            None => format!("name a Secret with username and password in {PLACE}"),
        }
    } else if says(&["x509:", "certificate"]) {
        match secret {
            Some(secret) => {
                format!("put the authority of the server's certificate as ca.crt into Secret {secret} ({PLACE})")
            }
            None => format!("name a Secret whose ca.crt is the authority of the server's certificate in {PLACE}"),
        }
    } else if says(&["could not locate a version", "no chart version found"]) {
        format!("it has no version {:?} (spec.render.helm.chart.version)", chart.version)
    } else {
        String::new()
    }
}

/// How the chart repository is called in the file that Helm reads.
const ALIAS: &str = "gitward";

/// A server of charts, as Helm is told of it. In files, since arguments are for everybody to see.
struct Server {
    is_registry: bool,
    files: Vec<(&'static str, PathBuf)>,
}

impl Server {
    fn new(repository: &str, login: &Login, home: &Path) -> Result<Server, RenderError> {
        let is_registry = repository.starts_with("oci://");
        let mut files = Vec::new();
        let mut entry = json!({"name": ALIAS, "url": repository});
        if let Some(ca) = &login.ca {
            let path = home.join("chart-ca.crt");
            fs::write(&path, ca)?;
            entry["caFile"] = json!(path);
            if is_registry {
                files.push(("--ca-file", path));
            }
        }
        if is_registry {
            let host = repository.trim_start_matches("oci://").split('/').next().unwrap_or_default();
            let mut auths = json!({});
            if let Some((user, password)) = &login.password {
                auths[host] = json!({"auth": ByteString(format!("{user}:{password}").into_bytes())});
            }
            files.push(("--registry-config", write(home, "registry.json", &json!({"auths": auths}))?));
        } else {
            if let Some((user, password)) = &login.password {
                entry["username"] = json!(user);
                entry["password"] = json!(password);
            }
            files.push(("--repository-config", repositories(home, &[entry])?));
        }
        Ok(Server { is_registry, files })
    }

    fn arguments(&self) -> impl Iterator<Item = String> {
        self.files.iter().flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()])
    }

    /// Fetches the index of a chart repository.
    async fn update(&self, programs: &Programs, home: &Path) -> Result<(), RenderError> {
        let mut args = vec!["repo".to_owned(), "update".to_owned()];
        args.extend(self.arguments());
        let run = Run { program: &programs.helm, name: "helm repo update", args, home, network: true };
        run.output().await.map(drop)
    }
}

fn repositories(home: &Path, entries: &[Value]) -> Result<PathBuf, RenderError> {
    write(
        home,
        "repositories.yaml",
        &json!({"apiVersion": "", "generated": "2020-01-01T00:00:00Z", "repositories": entries}),
    )
}

fn write(home: &Path, name: &str, content: &Value) -> Result<PathBuf, RenderError> {
    let path = home.join(name);
    fs::write(&path, content.to_string())?;
    Ok(path)
}

/// Whether a version is one version and no range.
fn is_exact(version: &str) -> bool {
    semver::Version::parse(version.strip_prefix('v').unwrap_or(version)).is_ok()
}

/// Makes sure that the dependencies of a chart of the repository lie beside it.
pub(super) async fn complete(
    checkout: &Checkout,
    chart: &Path,
    instructions: &Instructions,
    programs: &Programs,
    home: &Path,
) -> Result<(), RenderError> {
    let text = fs::read(chart.join("Chart.yaml"))?;
    let file = crate::source::File { path: format!("{}/Chart.yaml", instructions.folder), content: text };
    let Some(described) = super::plain::parse(&file)?.into_iter().next() else { return Ok(()) };
    let dependencies = described.value["dependencies"].as_array().cloned().unwrap_or_default();
    let there: Vec<String> = fs::read_dir(chart.join("charts"))
        .map(|entries| {
            entries.filter_map(Result::ok).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    let is_missing = |dependency: &&Value| {
        let name = dependency["name"].as_str().unwrap_or_default();
        !there.iter().any(|entry| entry == name || entry.starts_with(&format!("{name}-")))
    };
    let Some(mut missing) = dependencies.iter().find(is_missing) else { return Ok(()) };
    let is_elsewhere = |dependency: &&Value| is_missing(dependency) && !is_beside(dependency, chart, checkout);
    let elsewhere = dependencies.iter().find(is_elsewhere);
    missing = elsewhere.unwrap_or(missing);
    if elsewhere.is_some() && !instructions.allow_remote {
        let entry = format!(
            "{} of {}",
            missing["name"].as_str().unwrap_or_default(),
            missing["repository"].as_str().unwrap_or_default()
        );
        return Err(RenderError::Remote { file: file.path, entry });
    }
    let urls = dependencies.iter().filter_map(|d| d["repository"].as_str()).filter(|url| url.starts_with("http"));
    let entries: Vec<Value> =
        urls.enumerate().map(|(n, url)| json!({"name": format!("{ALIAS}-{n}"), "url": url})).collect();
    let config = repositories(home, &entries)?;
    let what = if chart.join("Chart.lock").is_file() { "build" } else { "update" };
    let args = ["dependency", what, &chart.display().to_string(), "--repository-config", &config.display().to_string()];
    let args = args.map(str::to_owned).to_vec();
    let network = elsewhere.is_some();
    let run = Run { program: &programs.helm, name: "helm dependency build", args, home, network };
    run.output().await.map(drop)
}

/// Whether a dependency is another folder of the repository.
fn is_beside(dependency: &Value, chart: &Path, checkout: &Checkout) -> bool {
    let path = dependency["repository"].as_str().and_then(|url| url.strip_prefix("file://"));
    let path = path.and_then(|path| super::kustomize::normal(&chart.join(path)));
    path.is_some_and(|path| path.starts_with(checkout.root()) && path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Helm 4.3 words them.
    #[test]
    fn what_helm_complains_of_is_answered_with_what_to_do() {
        let chart = |secret: Value| -> Chart {
            let chart = json!({"repository": "oci://r", "name": "shop", "version": "3.x", "secretRef": secret});
            serde_json::from_value(chart).unwrap()
        };
        let with = chart(json!({"name": "login"}));
        let answers = [
            ("GET \"https://r/v2/shop/tags/list\": response status code 401: unauthorized", "username and password"),
            ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "ca.crt"),
        ];
        for (message, wanted) in answers {
            let advice = advice(message, &with);
            assert!(advice.contains(wanted) && advice.contains("Secret login"), "{advice}");
        }
        let none = "GET \"https://r/v2/shop/tags/list\": basic credential not found";
        assert!(advice(none, &chart(Value::Null)).starts_with("name a Secret with username and password"));
        let range = "could not locate a version matching provided version string 3.x";
        assert_eq!(advice(range, &with), "it has no version \"3.x\" (spec.render.helm.chart.version)");
        assert_eq!(advice("dial tcp: connection refused", &with), "");
    }

    #[test]
    fn only_a_whole_version_is_exact() {
        assert!(is_exact("1.2.3") && is_exact("v1.2.3-rc.1+x"));
        assert!(!is_exact("1.2") && !is_exact(">=1.2.3") && !is_exact("1.2.x"));
    }
}
