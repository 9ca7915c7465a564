//! gitward is removed in every state, and locks nothing: no admission, no finalizer, and the workloads stay.

use crate::shop::{SYSTEM, Shop, chart};

#[test]
fn it_can_be_removed_with_every_process_dead() {
    let mut shop = Shop::open(&chart(), &[]);
    shop.gitward.kill_reconciler();
    shop.gitward.stop_guard();
    assert!(shop.scale("dev", 5).refused().contains("failed calling webhook"), "people are locked out, until");
    shop.cluster.helm(&["uninstall", "gitward", "-n", SYSTEM]).ok();
    shop.assert_unlocked("uninstalled with everything dead");
    shop.assert_removable("uninstalled with everything dead");
}

#[test]
fn it_can_be_removed_while_it_is_disabled() {
    let mut shop = Shop::open(&chart(), &[]);
    shop.gitward.command("admin", &["disable", "--reason", "we part"]).ok();
    shop.cluster.helm(&["uninstall", "gitward", "-n", SYSTEM]).ok();
    shop.gitward.stop_reconciler();
    shop.gitward.stop_guard();
    shop.assert_unlocked("uninstalled while disabled");
    shop.assert_removable("uninstalled while disabled");
}
