//! Connections to the guard whose every byte a test decides: half bodies, announcements, HTTP/2 frames.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Guard;

/// A connection over TLS.
pub(crate) struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// What several connections have in common.
pub(crate) fn config(guard: &Guard, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(guard.dir.path().join("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

impl Client {
    pub(crate) fn connect(guard: &Guard, config: &Arc<ClientConfig>) -> Client {
        let tcp = TcpStream::connect(("127.0.0.1", guard.port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        Client { stream: StreamOwned::new(tls, tcp) }
    }

    /// Sends the head of an HTTP/1.1 request that announces so many bytes, and some of them.
    pub(crate) fn announce(&mut self, announced: usize, body: &[u8]) {
        let head = format!("POST /review HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n\r\n");
        self.stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    /// Sends a whole review over HTTP/1.1 and reads the answer; gives its status line.
    pub(crate) fn ask(&mut self, body: &[u8]) -> String {
        self.announce(body.len(), body);
        let mut answer = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            let length = self.stream.read(&mut chunk).unwrap();
            answer.extend_from_slice(&chunk[..length]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            if length == 0 || is_whole(&text) {
                return text.lines().next().unwrap_or_default().to_owned();
            }
        }
    }

    /// Begins HTTP/2 and a request that announces so many bytes, and sends some of them (RFC 9113). No more than the window.
    pub(crate) fn announce_http2(&mut self, announced: usize, body: &[u8]) {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        // Literals without indexing, with names of the static table (RFC 7541): :method POST, :scheme https, :path, :authority,
        // content-length.
        let mut headers = vec![0x83, 0x87];
        let length = announced.to_string();
        for (name, value) in [(&[0x04][..], "/review"), (&[0x01], "localhost"), (&[0x0f, 0x0d], length.as_str())] {
            headers.extend_from_slice(name);
            headers.push(value.len() as u8);
            headers.extend_from_slice(value.as_bytes());
        }
        bytes.extend(frame(1, 4, 1, &headers));
        body.chunks(16 << 10).for_each(|chunk| bytes.extend(frame(0, 0, 1, chunk)));
        self.stream.write_all(&bytes).unwrap();
        self.stream.flush().unwrap();
    }
}

/// Whether an answer over HTTP/1.1 is there as a whole.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
