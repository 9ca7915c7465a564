//! A real git server: bare repositories behind `git http-backend`, over https with a certificate of its own authority.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum_server::tls_rustls::RustlsConfig;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::runtime::Runtime;

use crate::Output;
use crate::certificates::{Issued, issue_for};
use crate::control_plane::free_ports;
use crate::process::Janitor;

/// A git server. Ends with the value.
pub struct GitServer {
    dir: PathBuf,
    _janitor: Janitor,
    address: SocketAddr,
    ca: String,
    config: Arc<rustls::ServerConfig>,
    served: Arc<Served>,
    runtime: Option<Runtime>,
}

/// What is served, and how.
struct Served {
    root: PathBuf,
    fault: Mutex<Option<GitFault>>,
}

/// A way in which a git server goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitFault {
    /// It answers everything with this status.
    Status(u16),
    /// It answers everything with a web page and status 200, as a login wall does.
    Html,
    /// It ends in the middle of each pack.
    HalfPack,
    /// It never answers.
    Hang,
}

impl GitServer {
    /// Starts one on the loopback.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start() -> GitServer {
        GitServer::start_at(Ipv4Addr::LOCALHOST.into())
    }

    /// Starts one at an address of this machine.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start_at(address: IpAddr) -> GitServer {
        let dir = TempDir::with_prefix("gitward-git-").expect("a temporary folder").keep();
        let janitor = Janitor::of(&dir);
        let (ca, config) = tls(address);
        let [port] = free_ports();
        let address = SocketAddr::from((address, port));
        let root = dir.join("served");
        std::fs::create_dir_all(&root).expect("the folder can be made");
        std::fs::write(dir.join("ca.crt"), &ca).expect("the authority can be written");
        let served = Arc::new(Served { root, fault: Mutex::default() });
        let config = Arc::new(config);
        let mut server = GitServer { dir, _janitor: janitor, address, ca, config, served, runtime: None };
        server.listen();
        server
    }

    /// Serves again after [`GitServer::stop`].
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn listen(&mut self) {
        let address = self.address;
        let state = self.served.clone();
        let router = Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(state);
        let runtime = Runtime::new().expect("a runtime");
        let tls = RustlsConfig::from_config(self.config.clone());
        runtime.spawn(async move {
            let _ = axum_server::bind_rustls(address, tls).serve(router.into_make_service()).await;
        });
        let connects = || std::net::TcpStream::connect(address).map(drop).map_err(|error| error.to_string());
        crate::eventually("the git server listens", std::time::Duration::from_secs(10), connects);
        self.runtime = Some(runtime);
    }

    /// From now on it goes wrong in this way, or in none.
    ///
    /// # Panics
    /// Where a thread has panicked while it did the same.
    pub fn go_wrong(&self, fault: Option<GitFault>) {
        *self.served.fault.lock().expect("nobody has panicked") = fault;
    }

    /// The authority of its certificate, as PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Serves the same repositories over ssh as well.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn ssh(&self) -> Ssh {
        let (host, user) = (self.ssh_key("host"), self.ssh_key("user"));
        let mut server = Command::new(crate::Tools::get().path("gitssh"));
        server.arg(self.dir.join("served")).arg(&host).arg(user.with_extension("pub"));
        let process = crate::Process::start(&self.dir, "gitssh", &server);
        let port = crate::eventually("the ssh server listens", std::time::Duration::from_secs(10), || {
            process.log().trim().parse::<u16>().map_err(|_| process.log())
        });
        let read = |path: &Path| std::fs::read_to_string(path).expect("the key was written");
        let host = read(&host.with_extension("pub"));
        Ssh { _process: process, port, identity: read(&user), known_hosts: format!("[127.0.0.1]:{port} {host}") }
    }

    /// A folder whose files are served over https as they are, as a chart repository is.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn static_files(&self, name: &str) -> StaticFiles {
        let dir = self.dir.join("served").join(STATIC).join(name);
        std::fs::create_dir_all(&dir).expect("the folder can be made");
        StaticFiles { dir, url: format!("https://{}/{STATIC}/{name}", self.address) }
    }

    /// Makes an SSH key. Returns the file of the private key; the public one is beside it.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn ssh_key(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        let args = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"];
        Output::of(Command::new("ssh-keygen").args(args).arg(&path), None).ok();
        path
    }

    /// Stops serving; the repositories stay.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Makes a repository, and a work tree to commit in.
    ///
    /// # Panics
    /// Where git fails.
    pub fn repo(&self, name: &str) -> Repo {
        let bare = self.dir.join("served").join(name);
        let work = self.dir.join("work").join(name);
        let text = |path: &Path| path.display().to_string();
        run_git(&self.dir, &["init", "--quiet", "--bare", "--initial-branch=main", &text(&bare)]);
        run_git(&bare, &["config", "http.receivepack", "true"]);
        let url = format!("https://{}/{name}", self.address);
        run_git(&self.dir, &["init", "--quiet", "--initial-branch=main", &text(&work)]);
        run_git(&work, &["remote", "add", "origin", &url]);
        run_git(&work, &["config", "http.sslCAInfo", &text(&self.dir.join("ca.crt"))]);
        Repo { bare, work, url }
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where files are served as they are.
const STATIC: &str = "static";

/// A folder that is served as it is.
pub struct StaticFiles {
    dir: PathBuf,
    url: String,
}

impl StaticFiles {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A [`GitServer`] over ssh. Ends with the value.
pub struct Ssh {
    _process: crate::Process,
    port: u16,
    /// The private key that it lets in.
    pub identity: String,
    /// Its line in a file of known hosts.
    pub known_hosts: String,
}

impl Ssh {
    /// The URL of a repository.
    pub fn url(&self, repo: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{repo}", self.port)
    }
}

/// A repository on a [`GitServer`].
pub struct Repo {
    bare: PathBuf,
    work: PathBuf,
    url: String,
}

impl Repo {
    /// Its URL over https.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its URL as a local folder.
    pub fn file_url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// The repository itself, as the server has it.
    pub fn bare(&self) -> &Path {
        &self.bare
    }

    /// The work tree.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Writes a file into the work tree.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("the folder can be made");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Reads a file of the work tree.
    pub fn read(&self, path: &str) -> String {
        let path = self.work.join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Removes a file from the work tree.
    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.work.join(path)).expect("the file can be removed");
    }

    /// Copies a folder into the work tree.
    pub fn copy(&self, from: &Path) {
        let from = format!("{}/.", from.display());
        Output::of(Command::new("cp").args(["-r", &from]).arg(&self.work), None).ok();
    }

    /// Runs git in the work tree.
    ///
    /// # Panics
    /// Where git fails.
    pub fn git(&self, args: &[&str]) -> String {
        run_git(&self.work, args)
    }

    /// Pushes a commit that changes nothing. Returns the commit.
    pub fn push_empty(&self, message: &str) -> String {
        run_git(&self.work, &["commit", "--quiet", "--allow-empty", "--message", message]);
        run_git(&self.work, &["push", "--quiet", "origin", "HEAD:main"]);
        run_git(&self.work, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Commits everything and pushes it over https. Returns the commit.
    pub fn push(&self, message: &str) -> String {
        run_git(&self.work, &["add", "--all"]);
        run_git(&self.work, &["commit", "--quiet", "--message", message]);
        run_git(&self.work, &["push", "--quiet", "origin", "HEAD:main"]);
        run_git(&self.work, &["rev-parse", "HEAD"]).trim().to_owned()
    }
}

fn run_git(dir: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_SSL_CAINFO");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "Sam").env(format!("GIT_{who}_EMAIL"), "sam@example.com");
    }
    Output::of(&mut git, None).ok().to_owned()
}

fn tls(address: IpAddr) -> (String, rustls::ServerConfig) {
    let Issued { ca, certificate, key } = issue_for(address);
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a certificate that fits its key");
    (ca, config)
}

/// Hands a request to `git http-backend` as the CGI specification (RFC 3875) says.
async fn serve(State(served): State<Arc<Served>>, request: Request) -> Response {
    let root = &served.root;
    let fault = *served.fault.lock().expect("nobody has panicked");
    match fault {
        None => serve_well(root, request).await,
        Some(GitFault::Status(code)) => StatusCode::from_u16(code).unwrap_or_default().into_response(),
        Some(GitFault::Html) => Html("<html><body>Please sign in</body></html>").into_response(),
        Some(GitFault::Hang) => std::future::pending().await,
        Some(GitFault::HalfPack) => {
            let (parts, body) = serve_well(root, request).await.into_parts();
            let whole = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let is_pack = whole.windows(4).any(|window| window == b"PACK");
            let end = if is_pack { whole.len() / 2 } else { whole.len() };
            Response::from_parts(parts, whole.slice(..end).into())
        }
    }
}

async fn serve_well(root: &Path, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with(&format!("/{STATIC}/")) && !parts.uri.path().contains("..") {
        let file = std::fs::read(root.join(parts.uri.path().trim_start_matches('/')));
        return file.map_or_else(|_| StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response);
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut backend = tokio::process::Command::new("git");
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "sam")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    answer(backend, body).await.unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, error.to_string()).into_response())
}

async fn answer(mut backend: tokio::process::Command, body: Bytes) -> std::io::Result<Response> {
    let mut child = backend.spawn()?;
    let stdin = child.stdin.take();
    let feed = tokio::spawn(async move {
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(&body).await;
        }
    });
    let output = child.wait_with_output().await?.stdout;
    feed.abort();
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        match line.split_once(": ") {
            Some(("Status", status)) => {
                let code = status.split(' ').next().and_then(|code| code.parse().ok());
                response = response.status(code.unwrap_or(StatusCode::BAD_GATEWAY));
            }
            Some((name, value)) => {
                if let Ok(name) = name.parse::<HeaderName>() {
                    response = response.header(name, value);
                }
            }
            None => {}
        }
    }
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    response.body(body.into()).map_err(std::io::Error::other)
}
