//! Uses the crate from outside of its workspace.

use darkhorse_genesis::domain::Domain;

fn main() {
    let domain: Domain = "math".parse().expect("`math` is an alias of a domain");
    println!("{domain}");
}
