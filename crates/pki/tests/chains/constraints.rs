//! What name constraints of each kind make of names, one by one.

use crate::{
    Verdict::{self, NameConstraints, Passes},
    der::{COMMON_NAME, ORGANIZATION, element, name, oid},
};

pub fn dns(text: &str) -> Vec<u8> {
    element(0x82, &[text.as_bytes()])
}

pub fn email(text: &str) -> Vec<u8> {
    element(0x81, &[text.as_bytes()])
}

pub fn uri(text: &str) -> Vec<u8> {
    element(0x86, &[text.as_bytes()])
}

pub fn ip(octets: &[u8]) -> Vec<u8> {
    element(0x87, &[octets])
}

pub fn directory(attributes: &[(&str, &str)]) -> Vec<u8> {
    element(0xa4, &[&name(attributes)])
}

pub fn registered(dotted: &str) -> Vec<u8> {
    let whole = oid(dotted);
    element(0x88, &[&whole[2..]])
}

pub fn other(dotted: &str, text: &str) -> Vec<u8> {
    let value = element(0x0c, &[text.as_bytes()]);
    element(0xa0, &[&oid(dotted), &element(0xa0, &[&value])])
}

/// Whether a leaf's name passes under a constraint; RFC 5280 and we agree on all of them.
pub struct Row {
    pub id: &'static str,
    pub what: &'static str,
    pub permitted: Vec<Vec<u8>>,
    pub excluded: Vec<Vec<u8>>,
    pub name: Vec<u8>,
    pub ours: Verdict,
}

fn permitted(
    id: &'static str,
    what: &'static str,
    constraint: Vec<u8>,
    name: Vec<u8>,
    ours: Verdict,
) -> Row {
    Row {
        id,
        what,
        permitted: vec![constraint],
        excluded: Vec::new(),
        name,
        ours,
    }
}

fn excluded(
    id: &'static str,
    what: &'static str,
    constraint: Vec<u8>,
    name: Vec<u8>,
    ours: Verdict,
) -> Row {
    Row {
        id,
        what,
        permitted: Vec::new(),
        excluded: vec![constraint],
        name,
        ours,
    }
}

pub fn rows() -> Vec<Row> {
    let ten = [10, 0, 0, 0, 255, 0, 0, 0];
    let mut six = [0u8; 32];
    six[..2].copy_from_slice(&[0x20, 0x01]);
    six[16..18].copy_from_slice(&[0xff, 0xff]);
    let mut address = [0u8; 16];
    address[..2].copy_from_slice(&[0x20, 0x01]);
    let mut elsewhere = address;
    elsewhere[0] = 0xfd;
    let acme = [(ORGANIZATION, "Acme")];
    let acme_client = [(ORGANIZATION, "Acme"), (COMMON_NAME, "x")];
    let barred = [(ORGANIZATION, "Barred")];
    let barred_client = [(ORGANIZATION, "Barred"), (COMMON_NAME, "x")];
    let else_client = [(ORGANIZATION, "Else"), (COMMON_NAME, "x")];
    vec![
        permitted(
            "dns-same",
            "the permitted host",
            dns("example.com"),
            dns("example.com"),
            Passes,
        ),
        permitted(
            "dns-below",
            "a host below the permitted one",
            dns("example.com"),
            dns("a.b.example.com"),
            Passes,
        ),
        permitted(
            "dns-case",
            "written in capitals",
            dns("example.com"),
            dns("A.EXAMPLE.COM"),
            Passes,
        ),
        permitted(
            "dns-other",
            "another host",
            dns("example.com"),
            dns("example.test"),
            NameConstraints,
        ),
        permitted(
            "dns-suffix",
            "a host that merely ends alike",
            dns("example.com"),
            dns("badexample.com"),
            NameConstraints,
        ),
        permitted(
            "dns-prefix",
            "a host that begins alike",
            dns("example.com"),
            dns("example.com.test"),
            NameConstraints,
        ),
        permitted(
            "dns-above",
            "the host above",
            dns("a.example.com"),
            dns("example.com"),
            NameConstraints,
        ),
        permitted(
            "dns-wildcard",
            "a wildcard below",
            dns("example.com"),
            dns("*.example.com"),
            Passes,
        ),
        permitted(
            "dns-empty",
            "an empty constraint permits every host",
            dns(""),
            dns("any.test"),
            Passes,
        ),
        permitted(
            "dns-nul",
            "a host with a NUL octet",
            dns("example.com"),
            dns("evil.test\0.example.com"),
            Passes,
        ),
        permitted(
            "dns-dot",
            "a dot first, of which RFC 5280 says nothing for hosts, and what is below",
            dns(".example.com"),
            dns("a.example.com"),
            Passes,
        ),
        permitted(
            "dns-against-email",
            "hosts are permitted, and the name is an address",
            dns("example.com"),
            email("a@example.test"),
            Passes,
        ),
        excluded(
            "dns-same",
            "the excluded host",
            dns("example.com"),
            dns("example.com"),
            NameConstraints,
        ),
        excluded(
            "dns-below",
            "a host below the excluded one",
            dns("example.com"),
            dns("a.example.com"),
            NameConstraints,
        ),
        excluded(
            "dns-case",
            "in capitals",
            dns("example.com"),
            dns("A.Example.Com"),
            NameConstraints,
        ),
        excluded(
            "dns-other",
            "another host",
            dns("example.com"),
            dns("example.test"),
            Passes,
        ),
        excluded(
            "dns-empty",
            "an empty constraint excludes every host",
            dns(""),
            dns("any.test"),
            NameConstraints,
        ),
        permitted(
            "ip-inside",
            "an address inside",
            ip(&ten),
            ip(&[10, 1, 2, 3]),
            Passes,
        ),
        permitted(
            "ip-outside",
            "an address outside",
            ip(&ten),
            ip(&[11, 1, 2, 3]),
            NameConstraints,
        ),
        permitted(
            "ip-version",
            "IPv4 is permitted, and the address is of IPv6",
            ip(&ten),
            ip(&address),
            NameConstraints,
        ),
        permitted(
            "ip6-inside",
            "an address of IPv6 inside",
            ip(&six),
            ip(&address),
            Passes,
        ),
        permitted(
            "ip6-outside",
            "an address of IPv6 outside",
            ip(&six),
            ip(&elsewhere),
            NameConstraints,
        ),
        permitted(
            "ip-constraint-short",
            "a constraint of five octets",
            ip(&[10, 0, 0, 0, 255]),
            ip(&[10, 1, 2, 3]),
            NameConstraints,
        ),
        permitted(
            "ip-name-short",
            "an address of three octets",
            ip(&ten),
            ip(&[10, 1, 2]),
            NameConstraints,
        ),
        excluded(
            "ip-inside",
            "an address inside",
            ip(&ten),
            ip(&[10, 1, 2, 3]),
            NameConstraints,
        ),
        excluded(
            "ip-outside",
            "an address outside",
            ip(&ten),
            ip(&[11, 1, 2, 3]),
            Passes,
        ),
        excluded(
            "ip-everything",
            "every address is excluded",
            ip(&[0; 8]),
            ip(&[11, 1, 2, 3]),
            NameConstraints,
        ),
        permitted(
            "email-mailbox",
            "the permitted mailbox",
            email("a@example.com"),
            email("a@example.com"),
            Passes,
        ),
        permitted(
            "email-mailbox-other",
            "another mailbox there",
            email("a@example.com"),
            email("b@example.com"),
            NameConstraints,
        ),
        permitted(
            "email-mailbox-case",
            "the mailbox in another case",
            email("a@example.com"),
            email("A@example.com"),
            NameConstraints,
        ),
        permitted(
            "email-host",
            "a mailbox of the permitted host",
            email("example.com"),
            email("a@example.com"),
            Passes,
        ),
        permitted(
            "email-host-case",
            "the host in capitals",
            email("example.com"),
            email("a@EXAMPLE.com"),
            Passes,
        ),
        permitted(
            "email-host-below",
            "a mailbox of a host below",
            email("example.com"),
            email("a@b.example.com"),
            NameConstraints,
        ),
        permitted(
            "email-domain",
            "a mailbox below the permitted domain",
            email(".example.com"),
            email("a@b.example.com"),
            Passes,
        ),
        permitted(
            "email-domain-itself",
            "a mailbox of the domain itself",
            email(".example.com"),
            email("a@example.com"),
            NameConstraints,
        ),
        permitted(
            "email-without-at",
            "an address without @",
            email("example.com"),
            email("example.com"),
            NameConstraints,
        ),
        excluded(
            "email-host",
            "a mailbox of the excluded host",
            email("example.com"),
            email("a@example.com"),
            NameConstraints,
        ),
        excluded(
            "email-host-below",
            "a mailbox of a host below",
            email("example.com"),
            email("a@b.example.com"),
            Passes,
        ),
        excluded(
            "email-mailbox",
            "the excluded mailbox",
            email("a@example.com"),
            email("a@example.com"),
            NameConstraints,
        ),
        permitted(
            "uri-host",
            "a URI of the permitted host",
            uri("example.com"),
            uri("https://example.com/x"),
            Passes,
        ),
        permitted(
            "uri-spiffe",
            "a SPIFFE id of the permitted domain",
            uri("example.com"),
            uri("spiffe://example.com/ns/a"),
            Passes,
        ),
        permitted(
            "uri-port",
            "a URI with a port",
            uri("example.com"),
            uri("https://example.com:8443/x"),
            Passes,
        ),
        permitted(
            "uri-host-below",
            "a URI of a host below",
            uri("example.com"),
            uri("https://a.example.com/x"),
            NameConstraints,
        ),
        permitted(
            "uri-domain",
            "a URI below the permitted domain",
            uri(".example.com"),
            uri("https://a.example.com/x"),
            Passes,
        ),
        permitted(
            "uri-domain-itself",
            "a URI of the domain itself",
            uri(".example.com"),
            uri("https://example.com/x"),
            NameConstraints,
        ),
        permitted(
            "uri-other",
            "a URI of another host",
            uri("example.com"),
            uri("spiffe://example.test/ns/a"),
            NameConstraints,
        ),
        permitted(
            "uri-without-host",
            "a URI without a host",
            uri("example.com"),
            uri("urn:example:a"),
            NameConstraints,
        ),
        permitted(
            "uri-user",
            "a URI whose user looks like the host",
            uri("example.com"),
            uri("https://example.com@evil.test/"),
            NameConstraints,
        ),
        excluded(
            "uri-host",
            "a URI of the excluded host",
            uri("example.com"),
            uri("spiffe://example.com/a"),
            NameConstraints,
        ),
        excluded(
            "uri-other",
            "a URI of another host",
            uri("example.com"),
            uri("spiffe://example.test/a"),
            Passes,
        ),
        permitted(
            "directory-inside",
            "a directory name inside",
            directory(&acme),
            directory(&acme_client),
            Passes,
        ),
        permitted(
            "directory-outside",
            "a directory name outside",
            directory(&acme),
            directory(&else_client),
            NameConstraints,
        ),
        excluded(
            "directory-inside",
            "a directory name inside",
            directory(&barred),
            directory(&barred_client),
            NameConstraints,
        ),
        excluded(
            "directory-outside",
            "a directory name outside",
            directory(&barred),
            directory(&else_client),
            Passes,
        ),
        permitted(
            "registered",
            "a kind of name nobody here constrains",
            registered("1.2.3.4"),
            registered("1.2.3.4"),
            NameConstraints,
        ),
        permitted(
            "other-kind",
            "other names, of which nobody here knows",
            other("1.2.3.4", "a"),
            other("1.2.3.4", "a"),
            NameConstraints,
        ),
        excluded(
            "other-kind",
            "other names excluded",
            other("1.2.3.4", "a"),
            other("1.2.3.4", "b"),
            NameConstraints,
        ),
        permitted(
            "other-kind-absent",
            "a kind nobody here constrains, and no such name",
            other("1.2.3.4", "a"),
            dns("a.test"),
            Passes,
        ),
    ]
}
