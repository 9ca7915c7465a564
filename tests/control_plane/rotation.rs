//! Certificates are rotated while people write, and guards are replaced at the same time, so that there are always new
//! connections: not one request has another answer than it should.

use gitward_test_cluster::eventually;

use crate::load::Load;
use crate::pki::{AUTHORITY, GUARD, stored};
use crate::rolling::Two;
use crate::support::PATIENCE;

fn delete(two: &Two, secrets: &[&str]) {
    let args = [&["delete", "secret", "-n", "gitward-system"], secrets].concat();
    two.world.cluster.kubectl("admin", &args).ok();
}

fn wait_another(two: &Two, secret: &str, before: &str) {
    eventually(&format!("there is another {secret}"), PATIENCE, || {
        let found = stored(&two.world, secret).map(|found| found.certificate);
        if found.as_deref().is_some_and(|found| found != before) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

fn no_request_fails_while_certificates_rotate(host: &str) {
    let mut two = Two::start(host);
    let load = Load::start(&two.world, "rotating");
    load.wait(100);
    let mut number = 3..;
    let mut replace = |two: &mut Two| two.replace_first(&format!("guard-{}", number.next().unwrap_or_default()));
    for lost in [&[GUARD][..], &[AUTHORITY], &[AUTHORITY, GUARD]] {
        let (ca, leaf) = (stored(&two.world, AUTHORITY).unwrap(), stored(&two.world, GUARD).unwrap());
        delete(&two, lost);
        if lost.contains(&AUTHORITY) {
            wait_another(&two, AUTHORITY, &ca.certificate);
        }
        // Trust comes before the certificate: while the first is there and the second is not, guards come and go.
        if !lost.contains(&GUARD) {
            replace(&mut two);
        }
        load.wait(100);
        wait_another(&two, GUARD, &leaf.certificate);
        replace(&mut two);
        load.wait(100);
    }
    let (allowed, refused, wrong) = load.stop();
    println!("{host}: {allowed} allowed, {refused} refused, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), allowed + refused);
}

#[test]
fn no_request_fails_while_certificates_rotate_behind_a_service() {
    no_request_fails_while_certificates_rotate("0.0.0.0");
}

#[test]
fn no_request_fails_while_certificates_rotate_over_http2() {
    no_request_fails_while_certificates_rotate("127.0.0.1");
}
