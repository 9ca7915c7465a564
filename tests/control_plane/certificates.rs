//! The guard's certificate, as the reconciler keeps it: whatever becomes of what is stored, it mends itself.

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use crate::pki::{self, AUTHORITY, FUTURE, GUARD, NAMES, NOW, PAST, Pair, stored, wait_trusted};
use crate::support::{PATIENCE, World};

const NS: &str = "mended";

/// Waits until another certificate than this is stored.
fn wait_replaced(world: &World, secret: &str, before: &str, after: &str) -> Pair {
    eventually(&format!("{secret} is replaced, after {after}"), PATIENCE, || {
        let found = stored(world, secret).ok_or("it is missing")?;
        if found.certificate == before {
            Err(format!("it is as before\n{}", world.gitward.reconciler_log()))
        } else {
            Ok(found)
        }
    })
}

fn metric(metrics: &str, certificate: &str) -> Option<i64> {
    let name = format!("gitward_certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok())
}

fn people_are_refused(world: &World, after: &str) {
    eventually(&format!("people are refused with a reason, after {after}"), PATIENCE, || {
        let edit = ["patch", "configmap", "settings", "-n", NS, "-p", r#"{"data":{"color":"red"}}"#];
        let output = world.cluster.kubectl("dev", &edit);
        if output.refused().contains("is pinned to git") { Ok(()) } else { Err(output.stderr) }
    });
}

#[test]
fn whatever_becomes_of_the_certificates_they_mend_themselves() {
    let world = World::start();
    world.declare_settings(NS);
    the_certificate(&world);
    its_time(&world);
    the_authority(&world);
    what_is_trusted(&world);
    the_metrics(&world);
}

/// Lost, spoiled, expired, of a clock that was ahead, with another's key, of another authority, for another name.
fn the_certificate(world: &World) {
    let ca = stored(world, AUTHORITY).unwrap();
    let other = pki::authority("gitward guard CA of somebody else", NOW);
    let good = ca.sign(NAMES, NOW);
    for (fault, planted) in [
        ("a loss", None),
        ("a spoiled certificate", Some(Pair { certificate: "garbage".to_owned(), ..good.clone() })),
        ("a spoiled key", Some(Pair { key: "garbage".to_owned(), ..good.clone() })),
        ("a key of another", Some(Pair { key: ca.sign(NAMES, NOW).key, ..good })),
        ("its end", Some(ca.sign(NAMES, PAST))),
        ("a clock that was ahead", Some(ca.sign(NAMES, FUTURE))),
        ("another authority", Some(other.sign(NAMES, NOW))),
        ("another name", Some(ca.sign(&["guard.example.com"], NOW))),
    ] {
        let before = stored(world, GUARD).unwrap().certificate;
        match &planted {
            None => drop(world.cluster.kubectl("admin", &["delete", "secret", GUARD, "-n", "gitward-system"]).ok()),
            Some(pair) => pki::patch(world, GUARD, &json!({"tls.crt": pair.certificate, "tls.key": pair.key})),
        }
        let planted = planted.map_or(before, |pair| pair.certificate);
        wait_replaced(world, GUARD, &planted, fault);
        wait_trusted(world, fault);
        people_are_refused(world, fault);
        assert_eq!(stored(world, AUTHORITY).unwrap().certificate, ca.certificate, "{fault}: the authority stays");
    }
}

/// Two thirds of a life go by, and nothing else happens.
fn its_time(world: &World) {
    let ca = stored(world, AUTHORITY).unwrap();
    // Due in two seconds, and valid for minutes.
    let short = ca.sign(NAMES, (-598, 302));
    pki::patch(world, GUARD, &json!({"tls.crt": short.certificate, "tls.key": short.key}));
    let next = wait_replaced(world, GUARD, &short.certificate, "two thirds of its life");
    assert!(pki::until(&next.certificate) > pki::until(&short.certificate));
    eventually("the reconciler tells why", PATIENCE, || {
        let log = world.gitward.reconciler_log();
        if log.contains("two thirds of its life are over") { Ok(()) } else { Err(log) }
    });
}

/// Lost, spoiled, expired, of a clock that was ahead, with another's key.
fn the_authority(world: &World) {
    let expired = pki::authority("gitward guard CA", PAST);
    let ahead = pki::authority("gitward guard CA", FUTURE);
    let (one, two) = (pki::authority("gitward guard CA", NOW), pki::authority("gitward guard CA", NOW));
    for (fault, planted) in [
        ("a loss of the authority", None),
        ("a spoiled authority", Some(Pair { certificate: "garbage".to_owned(), key: "garbage".to_owned() })),
        ("an expired authority", Some(expired)),
        ("an authority of a clock that was ahead", Some(ahead)),
        ("an authority with another's key", Some(Pair { key: two.key, ..one })),
    ] {
        let before = stored(world, AUTHORITY).unwrap();
        match &planted {
            None => drop(world.cluster.kubectl("admin", &["delete", "secret", AUTHORITY, "-n", "gitward-system"]).ok()),
            Some(pair) => pki::patch(
                world,
                AUTHORITY,
                &json!({"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": pair.certificate}),
            ),
        }
        let planted = planted.map_or(before.certificate, |pair| pair.certificate);
        wait_replaced(world, AUTHORITY, &planted, fault);
        // What guards show stays trusted until they show what the new one has signed.
        wait_trusted(world, fault);
        people_are_refused(world, fault);
    }
    eventually("the new authority signs", PATIENCE, || {
        let (ca, leaf) = (stored(world, AUTHORITY).unwrap(), stored(world, GUARD).unwrap());
        if pki::has_signed(&ca.certificate, &leaf.certificate) { Ok(()) } else { Err(world.gitward.reconciler_log()) }
    });
    wait_trusted(world, "a certificate of the new authority");
}

fn what_is_trusted(world: &World) {
    let before = pki::trusted(world.cluster);
    let webhook = world.cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap();
    let count = webhook["webhooks"].as_array().map_or(0, Vec::len);
    let remove = |n| json!({"op": "remove", "path": format!("/webhooks/{n}/clientConfig/caBundle")});
    let patch = Value::Array((0..count).map(remove).collect()).to_string();
    world
        .cluster
        .kubectl("admin", &["patch", "validatingwebhookconfiguration", "gitward", "--type=json", "-p", &patch])
        .ok();
    eventually("caBundle is back", PATIENCE, || {
        let now = pki::trusted(world.cluster);
        if now == before { Ok(()) } else { Err(now) }
    });
    wait_trusted(world, "an emptied caBundle");
    people_are_refused(world, "an emptied caBundle");
}

fn the_metrics(world: &World) {
    let (ca, leaf) = (stored(world, AUTHORITY).unwrap(), stored(world, GUARD).unwrap());
    let expected = (Some(pki::until(&ca.certificate)), Some(pki::until(&leaf.certificate)));
    eventually("both tell when certificates expire", PATIENCE, || {
        let (reconciler, guard) = (world.gitward.reconciler_metrics(), world.gitward.guard_metrics());
        let told = (metric(&reconciler, "authority"), metric(&reconciler, "guard"));
        if told == expected && metric(&guard, "guard") == expected.1 {
            Ok(())
        } else {
            Err(format!("{reconciler}{guard}"))
        }
    });
}

#[test]
#[ignore = "needs libfaketime (on Debian: apt-get install faketime): make test-clock"]
fn a_reconciler_whose_clock_is_wrong_makes_certificates_that_the_api_server_takes() {
    let mut world = World::start();
    world.declare_settings(NS);
    let library = std::env::var("LIBFAKETIME").expect("make test-clock says where the library is");
    world.gitward.set_reconciler_env("LD_PRELOAD", library.as_ref());
    world.gitward.set_reconciler_env("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref());
    for offset in ["+400d", "-400d"] {
        world.gitward.stop_reconciler();
        world.cluster.kubectl("admin", &["delete", "secret", AUTHORITY, GUARD, "-n", "gitward-system"]).ok();
        world.gitward.set_reconciler_env("FAKETIME", offset.as_ref());
        world.gitward.start_reconciler();
        eventually("both are there again", PATIENCE, || {
            stored(&world, AUTHORITY).and(stored(&world, GUARD)).map(drop).ok_or_else(|| world.gitward.reconciler_log())
        });
        wait_trusted(&world, offset);
        people_are_refused(&world, offset);
        let log = world.gitward.reconciler_log();
        assert!(log.contains("our clock is wrong; certificates are made by the API server's"), "{offset}: {log}");
    }
}
