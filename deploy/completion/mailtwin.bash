# Completion of mailtwin for bash. Made by "mailtwin generate completion".
_mailtwin()
{
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local command= words= files= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --config | --node) ((i++)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $previous in
    --config) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --node | --from | --timeout) COMPREPLY=(); return ;;
    esac
    case $command in
    '') words="--config --node --help --version status check pki replicatord gate barrier verify resync held salvage loss retained promote demote directory directoryd accounts dump dumpd audit inspect help version" ;;
    status) words="--config --node --help --version --json --watch" ;;
    check) words="--config --node --help --version --json" ;;
    pki) words="--config --node --help --version --dir --json init node show" ;;
    replicatord) words="--config --node --help --version --foreground" ;;
    gate) words="--config --node --help --version --foreground" ;;
    barrier) words="--config --node --help --version --timeout --json" ;;
    verify) words="--config --node --help --version --repair --plan --yes --content --json --reason" ;;
    resync) words="--config --node --help --version --from --plan --no-wait --yes --reason" ;;
    held) words="--config --node --help --version --give-up --plan --yes --json --reason" ;;
    salvage) words="--config --node --help --version --user --all --plan --yes --json --reason list show deliver apply drop" ;;
    loss) words="--config --node --help --version --json list show" ;;
    retained) words="--config --node --help --version --store --user --folder --since --until --from --subject --message-id --limit --replace --suffix --plan --yes --json --reason list restore release discard" ;;
    promote) words="--config --node --help --version --force --json --plan --reason" ;;
    demote) words="--config --node --help --version --force --no-dump --reason" ;;
    directory) words="--config --node --help --version --json --plan --yes --reason status release retry" ;;
    directoryd) words="--config --node --help --version --check --foreground" ;;
    accounts) words="--config --node --help --version --json" ;;
    dump) words="--config --node --help --version --version-name --plan --force --yes --json --reason list run restore" ;;
    dumpd) words="--config --node --help --version --foreground" ;;
    audit) words="--config --node --help --version --since --until --json" ;;
    inspect) words="--config --node --help --version --json" files=1 ;;
    help) words="--config --node --help --version status check pki replicatord gate barrier verify resync held salvage loss retained promote demote directory directoryd accounts dump dumpd audit inspect help version" ;;
    version) words="--config --node --help --version" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [ -n "$files" ]; then
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}
complete -F _mailtwin mailtwin
