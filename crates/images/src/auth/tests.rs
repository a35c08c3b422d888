//! Which credential is found for whom.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn reference(text: &str) -> RegistryReference {
    text.parse().unwrap()
}

fn password(user: &str, password: &str) -> Credential {
    Credential::Password {
        user: user.into(),
        password: password.into(),
    }
}

fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn the_most_specific_entry_wins_and_no_other_registry_gets_it() {
    let temp = tempfile::tempdir().unwrap();
    let encoded = |text: &str| STANDARD.encode(text);
    let content = serde_json::json!({"auths": {
        "reg.example": {"auth": encoded("wide:w:1")},
        "reg.example/team": {"auth": encoded("narrow:n")},
        "https://index.docker.io/v1/": {"auth": encoded("hub:h")},
        "https://old.example/v1/": {"username": "plain", "password": "p"},
        "token.example": {"identitytoken": "t"},
    }});
    let sources = AuthSources::file(write(temp.path(), "auth.json", &content.to_string()));
    let rows = [
        ("reg.example/other/app", Some(password("wide", "w:1"))),
        ("reg.example/team/app", Some(password("narrow", "n"))),
        ("reg.example/teamwork/app", Some(password("wide", "w:1"))),
        ("busybox", Some(password("hub", "h"))),
        ("old.example/app", Some(password("plain", "p"))),
        (
            "token.example/app",
            Some(Credential::IdentityToken("t".into())),
        ),
        ("reg.example:5000/app", None),
        ("sub.reg.example/app", None),
        ("reg.example.evil/app", None),
    ];
    for (text, expected) in rows {
        assert_eq!(
            sources.credential(&reference(text)).await.unwrap(),
            expected,
            "{text}"
        );
    }
    let fixed = AuthSources::fixed("reg.example", password("u", "p"));
    assert!(
        fixed
            .credential(&reference("reg.example/a"))
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        fixed
            .credential(&reference("reg.example:1/a"))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn files_are_searched_in_order_and_only_an_explicit_one_must_exist() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path().join("home");
    let docker = r#"{"auths": {"a.example": {"username": "docker", "password": "1"},
        "b.example": {"username": "docker", "password": "2"}}}"#;
    let podman = r#"{"auths": {"b.example": {"username": "podman", "password": "3"}}}"#;
    write(&home, ".docker/config.json", docker);
    write(&home, ".config/containers/auth.json", podman);
    let variable = |name: &str| (name == "HOME").then(|| home.clone());
    let sources = AuthSources::from_variables(None, variable);
    let found = sources.credential(&reference("a.example/x")).await.unwrap();
    assert_eq!(found, Some(password("docker", "1")));
    let found = sources.credential(&reference("b.example/x")).await.unwrap();
    assert_eq!(found, Some(password("podman", "3")));

    let missing = AuthSources::from_variables(Some(home.join("none")), variable);
    let result = missing.credential(&reference("a.example/x")).await;
    assert!(
        matches!(result, Err(AuthError::ReadFile { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn broken_files_are_named_without_their_content() {
    let temp = tempfile::tempdir().unwrap();
    let broken = write(
        temp.path(),
        "a",
        "{\"auths\": {\"r.example\": {\"auth\": \"hunter2",
    );
    let error = AuthSources::file(broken)
        .credential(&reference("r.example/x"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, AuthError::ParseFile { line: 1, .. }),
        "{error:?}"
    );
    let entry = write(
        temp.path(),
        "b",
        r#"{"auths": {"r.example": {"auth": "hunter2"}}}"#,
    );
    let error = AuthSources::file(entry)
        .credential(&reference("r.example/x"))
        .await
        .unwrap_err();
    assert!(matches!(error, AuthError::Entry { .. }));
    assert!(!format!("{error:?} {error}").contains("hunter2"));
    let helper = write(
        temp.path(),
        "c",
        r#"{"credHelpers": {"r.example": "../../bin/sh"}}"#,
    );
    let error = AuthSources::file(helper)
        .credential(&reference("r.example/x"))
        .await
        .unwrap_err();
    assert!(matches!(error, AuthError::HelperName { .. }));
    assert!(!format!("{:?}", password("user", "hunter2")).contains("hunter2"));
}

#[tokio::test]
async fn helpers_are_asked_for_their_registry() {
    let temp = tempfile::tempdir().unwrap();
    let script = r#"#!/bin/sh
[ "$1" = get ] || exit 9
case "$(cat)" in
    has.example) echo '{"ServerURL":"x","Username":"helped","Secret":"s"}' ;;
    token.example) echo '{"Username":"<token>","Secret":"t"}' ;;
    none.example) echo 'credentials not found in native keychain'; exit 1 ;;
    *) echo 'locked'; exit 1 ;;
esac
"#;
    let helper = write(temp.path(), "docker-credential-vault", script);
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let content = r#"{"credsStore": "vault", "credHelpers": {"token.example": "vault"},
        "auths": {"has.example": {}}}"#;
    let sources = AuthSources {
        helper_dir: temp.path().into(),
        ..AuthSources::file(write(temp.path(), "config.json", content))
    };
    let found = sources
        .credential(&reference("has.example/x"))
        .await
        .unwrap();
    assert_eq!(found, Some(password("helped", "s")));
    let found = sources
        .credential(&reference("token.example/x"))
        .await
        .unwrap();
    assert_eq!(found, Some(Credential::IdentityToken("t".into())));
    assert_eq!(
        sources
            .credential(&reference("none.example/x"))
            .await
            .unwrap(),
        None
    );
    match sources.credential(&reference("other.example/x")).await {
        Err(AuthError::HelperFailed { said, .. }) => assert_eq!(said, "locked"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn empty_files_and_nulls_mean_no_credentials() {
    let temp = tempfile::tempdir().unwrap();
    for content in [
        "",
        " \n",
        "null",
        "{}",
        r#"{"auths":null}"#,
        r#"{"auths":null,"credHelpers":null,"credsStore":null}"#,
        r#"{"auths":{"r.example":null},"credHelpers":{"r.example":null}}"#,
        r#"{"auths":{"r.example":{"auth":null,"username":null}},"credsStore":""}"#,
        r#"{"credHelpers":{"r.example":""}}"#,
    ] {
        let sources = AuthSources::file(write(temp.path(), "auth.json", content));
        let found = sources.credential(&reference("r.example/x")).await;
        assert_eq!(found.unwrap(), None, "{content:?}");
    }
}

#[tokio::test]
async fn a_broken_usual_file_does_not_hide_the_next_one() {
    let temp = tempfile::tempdir().unwrap();
    let home = temp.path();
    write(home, ".config/containers/auth.json", "{\"auths\":");
    let docker = r#"{"auths": {"a.example": {"username": "docker", "password": "1"}}}"#;
    write(home, ".docker/config.json", docker);
    let variable = |name: &str| (name == "HOME").then(|| home.to_owned());
    let sources = AuthSources::from_variables(None, variable);
    let found = sources.credential(&reference("a.example/x")).await;
    assert_eq!(found.unwrap(), Some(password("docker", "1")));
    let missing = sources.credential(&reference("b.example/x")).await;
    assert!(
        matches!(missing, Err(AuthError::ParseFile { .. })),
        "{missing:?}"
    );
}
