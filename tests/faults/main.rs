//! Whatever breaks, and whenever: nothing that was created is forgotten, nothing is removed by error, and the next run converges
//! (promises 1, 2 and 4). The program is as it is shipped; what goes wrong goes wrong around it: in a proxy between it and the API
//! server, in the git server, in its cache, in its credentials.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api_server;
mod cache;
mod every_write;
mod git_server;
mod lane;
mod soak;
mod story;
