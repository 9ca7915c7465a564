//! The load: blocking TLS connections that write a prepared request and read the answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::server::Server;

/// One load: a body, sent over some connections.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) certificate: &'a CertificateDer<'static>,
    pub(crate) body: &'a [u8],
    pub(crate) connections: usize,
    /// Over all connections.
    pub(crate) requests: usize,
}

/// What some rounds took.
#[derive(Default)]
pub(crate) struct Measured {
    cpu: Duration,
    wall: Duration,
    latencies: Vec<Duration>,
}

impl Measured {
    pub(crate) fn add(&mut self, other: Measured) {
        self.cpu += other.cpu;
        self.wall += other.wall;
        self.latencies.extend(other.latencies);
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        sorted[((sorted.len() - 1) as f64 * quantile) as usize].as_secs_f64() * 1e6
    }
}

impl Load<'_> {
    pub(crate) fn run(&self, server: &Server) -> Measured {
        let config = self.config();
        let head = format!(
            "POST /review HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.body.len()
        );
        let request = [head.as_bytes(), self.body].concat();
        let each = self.requests.div_ceil(self.connections);
        let mut open: Vec<_> = (0..self.connections).map(|_| connect(config.clone(), server.port)).collect();
        // The first request makes the handshake.
        open.iter_mut().for_each(|stream| exchange(stream, &request));
        let (cpu, begun) = (server.cpu(), Instant::now());
        let latencies = std::thread::scope(|scope| {
            let request = request.as_slice();
            let send = |mut stream: Stream| {
                let timed = |_| {
                    let begun = Instant::now();
                    exchange(&mut stream, request);
                    begun.elapsed()
                };
                (0..each).map(timed).collect::<Vec<_>>()
            };
            let threads: Vec<_> = open.into_iter().map(|stream| scope.spawn(move || send(stream))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("a connection")).collect()
        });
        Measured { cpu: server.cpu() - cpu, wall: begun.elapsed(), latencies }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(config: Arc<ClientConfig>, port: u16) -> Stream {
    let tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
    tcp.set_nodelay(true).unwrap();
    StreamOwned::new(ClientConnection::new(config, ServerName::try_from("localhost").unwrap()).unwrap(), tcp)
}

fn exchange(stream: &mut Stream, request: &[u8]) {
    stream.write_all(request).unwrap();
    stream.flush().unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 16384]);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server closed the connection");
        answer.extend_from_slice(&buffer[..read]);
        if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = std::str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length: usize =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
            if answer.len() >= end + 4 + length {
                return;
            }
        }
    }
}
