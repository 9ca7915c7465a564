//! How many connections there may be, of all clients and of one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::{BoxError, Router};
use futures::future::{Ready, ready};
use tower::Service;

/// Gives every connection its service, and refuses those that are too many.
#[derive(Clone)]
pub(super) struct Connections {
    router: Router,
    open: Arc<Open>,
}

impl Connections {
    /// Connections to a router: so many at most, and so many of them from one address.
    pub(super) fn new(router: Router, most: usize, per_address: usize) -> Connections {
        Connections { router, open: Arc::new(Open { most, per_address, count: Mutex::default() }) }
    }
}

/// The open connections.
struct Open {
    most: usize,
    per_address: usize,
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Open {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Open>, from: IpAddr) -> Result<Taken, String> {
        let client = client(from);
        let mut count = self.count();
        let of_client = count.by_address.get(&client).copied().unwrap_or_default();
        if of_client >= self.per_address {
            return Err(format!("{of_client} connections of {client} are open"));
        }
        if count.all >= self.most {
            return Err(format!("{} connections are open", self.most));
        }
        count.all += 1;
        count.by_address.insert(client, of_client + 1);
        Ok(Taken { open: self.clone(), client })
    }
}

/// Who counts as one client: an IPv4 address, or the network of an IPv6 address, of which every machine has as many as it likes.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// One connection's place. It is free again when the value goes.
struct Taken {
    open: Arc<Open>,
    client: IpAddr,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut count = self.open.count();
        count.all -= 1;
        let left = count.by_address.get(&self.client).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            count.by_address.remove(&self.client);
        } else {
            count.by_address.insert(self.client, left);
        }
    }
}

impl Service<SocketAddr> for Connections {
    type Response = Connection;
    type Error = BoxError;
    type Future = Ready<Result<Connection, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, from: SocketAddr) -> Self::Future {
        let connection = |taken| Connection { router: self.router.clone(), _taken: Arc::new(taken) };
        ready(self.open.take(from.ip()).map(connection).map_err(BoxError::from))
    }
}

/// One connection's service. It counts for as long as it lives.
#[derive(Clone)]
pub(super) struct Connection {
    router: Router,
    _taken: Arc<Taken>,
}

impl<B> Service<axum::http::Request<B>> for Connection
where
    Router: Service<axum::http::Request<B>>,
{
    type Response = <Router as Service<axum::http::Request<B>>>::Response;
    type Error = <Router as Service<axum::http::Request<B>>>::Error;
    type Future = <Router as Service<axum::http::Request<B>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.router.poll_ready(context)
    }

    fn call(&mut self, request: axum::http::Request<B>) -> Self::Future {
        self.router.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(most: usize, per_address: usize) -> Arc<Open> {
        Arc::new(Open { most, per_address, count: Mutex::default() })
    }

    fn take(open: &Arc<Open>, from: &str) -> Result<Taken, String> {
        open.take(from.parse().unwrap())
    }

    #[test]
    fn one_address_does_not_take_all_connections() {
        let open = open(4, 2);
        let first: Vec<_> = (0..2).map(|_| take(&open, "10.0.0.1").unwrap()).collect();
        let refused = take(&open, "::ffff:10.0.0.1").err().unwrap();
        assert_eq!(refused, "2 connections of 10.0.0.1 are open");
        let _others = ["10.0.0.2", "10.0.0.3"].map(|from| take(&open, from).unwrap());
        assert_eq!(take(&open, "10.0.0.4").err().unwrap(), "4 connections are open");
        drop(first);
        assert!(take(&open, "10.0.0.1").is_ok());
        assert_eq!(open.count().by_address.len(), 2, "an address without connections is forgotten");
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        let open = open(10, 1);
        let _one = take(&open, "2001:db8:1:2::1").unwrap();
        assert!(take(&open, "2001:db8:1:2:ffff::7").is_err());
        assert!(take(&open, "2001:db8:1:3::1").is_ok());
    }
}
