//! Requests, as tables.

use sutler_csi::proto::VolumeContentSource;
use sutler_csi::proto::volume_capability::{AccessMode, BlockVolume};

use super::*;

fn mount(fs_type: &str, mode: Mode) -> VolumeCapability {
    let mount = MountVolume {
        fs_type: fs_type.to_owned(),
        ..MountVolume::default()
    };
    capability(AccessType::Mount(mount), mode)
}

fn block(mode: Mode) -> VolumeCapability {
    capability(AccessType::Block(BlockVolume {}), mode)
}

fn capability(access: AccessType, mode: Mode) -> VolumeCapability {
    let mode = AccessMode { mode: mode.into() };
    VolumeCapability {
        access_type: Some(access),
        access_mode: Some(mode),
    }
}

fn request() -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: "data".to_owned(),
        volume_capabilities: vec![mount("", Mode::SingleNodeWriter)],
        ..CreateVolumeRequest::default()
    }
}

fn refused(change: impl FnOnce(&mut CreateVolumeRequest)) -> String {
    let mut request = request();
    change(&mut request);
    let refusal = volume(&request).expect_err("must be refused");
    assert_eq!(
        refusal.code,
        tonic::Code::InvalidArgument,
        "{}",
        refusal.text
    );
    refusal.text
}

#[test]
fn only_the_modes_of_one_node_are_taken() {
    let table = [
        (Mode::SingleNodeWriter, Some((false, false))),
        (Mode::SingleNodeMultiWriter, Some((false, false))),
        (Mode::SingleNodeSingleWriter, Some((false, true))),
        (Mode::SingleNodeReaderOnly, Some((true, false))),
        (Mode::Unknown, None),
        (Mode::MultiNodeReaderOnly, None),
        (Mode::MultiNodeSingleWriter, None),
        (Mode::MultiNodeMultiWriter, None),
    ];
    for (mode, expected) in table {
        let read = usage(Some(&block(mode))).ok();
        let read = read.map(|usage| (usage.read_only, usage.single_writer));
        assert_eq!(read, expected, "{mode:?}");
    }
}

#[test]
fn capabilities_agree_or_are_refused() {
    let writer = Mode::SingleNodeWriter;
    let (xfs, ext4, any) = (
        mount("xfs", writer),
        mount("ext4", writer),
        mount("", writer),
    );
    let asked = |capabilities: &[&VolumeCapability]| {
        content(&capabilities.iter().copied().cloned().collect::<Vec<_>>()).ok()
    };
    assert_eq!(
        asked(&[&any, &xfs]),
        Some(ContentAsked::Filesystem(Some(FsKind::Xfs)))
    );
    assert_eq!(asked(&[&any, &any]), Some(ContentAsked::Filesystem(None)));
    assert_eq!(asked(&[&block(writer)]), Some(ContentAsked::Block));
    assert_eq!(asked(&[&xfs, &ext4]), None);
    assert_eq!(asked(&[&xfs, &block(writer)]), None);
    assert_eq!(asked(&[]), None);
    assert_eq!(asked(&[&mount("btrfs", writer)]), None);
}

#[test]
fn a_bad_request_is_refused_by_the_name_of_its_field() {
    assert_eq!(refused(|r| r.name.clear()), "name is empty");
    assert_eq!(
        refused(|r| r.name = "n".repeat(129)),
        "name is longer than 128 bytes"
    );
    assert_eq!(
        refused(|r| r.name.push('\n')),
        "name holds control characters"
    );
    assert_eq!(
        refused(|r| r.volume_capabilities.clear()),
        "volume_capabilities is empty"
    );
    let source = Some(VolumeContentSource::default());
    assert!(refused(|r| r.volume_content_source = source).starts_with("volume_content_source"));
    let set = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
    assert!(refused(|r| r.parameters = set("thik", "true")).contains("\"thik\" is unknown"));
    assert!(refused(|r| r.parameters = set("thin", "yes")).contains("neither true nor false"));
    assert!(refused(|r| r.mutable_parameters = set("iops", "5")).contains("\"iops\""));
    let range = CapacityRange {
        required_bytes: -5,
        limit_bytes: 0,
    };
    assert_eq!(
        refused(|r| r.capacity_range = Some(range)),
        "the size -5 is negative"
    );
}

#[test]
fn a_good_request_keeps_what_it_asks() {
    let mut request = request();
    request
        .parameters
        .insert(THIN.to_owned(), "true".to_owned());
    request.capacity_range = Some(CapacityRange {
        required_bytes: 5,
        limit_bytes: 9,
    });
    let asked = volume(&request).expect("a good request");
    assert_eq!(
        asked.size,
        SizeAsked {
            required_bytes: 5,
            limit_bytes: 9
        }
    );
    assert!(asked.thin);
    assert_eq!(asked.parameters, request.parameters);
}

#[test]
fn paths_are_absolute_and_do_not_climb() {
    assert_eq!(path("p", "/a//b/").expect("good"), Path::new("/a/b"));
    for bad in ["", "a/b", "/a/../b", "/a\0b"] {
        assert!(path("p", bad).is_err(), "{bad:?}");
    }
}
