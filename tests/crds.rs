//! The chart ships the CRDs that the types give.

use std::process::Command;

#[test]
fn the_crds_of_the_chart_are_those_of_the_types() {
    let output = Command::new(env!("CARGO_BIN_EXE_gitward")).arg("crds").output().unwrap();
    assert!(output.status.success());
    let shipped = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/gitward/crds/gitward.yaml")).unwrap();
    assert!(output.stdout == shipped, "run `make crds`: the types have changed");
}
