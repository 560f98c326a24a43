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
    '') words="--config --node --help --version status check pki replicatord gate barrier verify resync held salvage loss retained promote demote directory directoryd accounts dump dumpd inspect help version" ;;
    status) words="--config --node --help --version --json --watch" ;;
    check) words="--config --node --help --version --json" ;;
    pki) words="--config --node --help --version --dir --json init node show" ;;
    replicatord) words="--config --node --help --version --foreground" ;;
    gate) words="--config --node --help --version --foreground" ;;
    barrier) words="--config --node --help --version --timeout --json" ;;
    verify) words="--config --node --help --version --repair --plan --yes --content --json" ;;
    resync) words="--config --node --help --version --from --plan --no-wait --yes" ;;
    held) words="--config --node --help --version --give-up --plan --yes --json" ;;
    salvage) words="--config --node --help --version --user --all --plan --yes --json list show deliver apply drop" ;;
    loss) words="--config --node --help --version --json list show" ;;
    retained) words="--config --node --help --version --store --user --folder --since --until --from --subject --message-id --limit --replace --plan --yes --json list restore release discard" ;;
    promote) words="--config --node --help --version --force --json --plan" ;;
    demote) words="--config --node --help --version --force --no-dump" ;;
    directory) words="--config --node --help --version --json --plan --yes status release retry" ;;
    directoryd) words="--config --node --help --version --foreground" ;;
    accounts) words="--config --node --help --version --json" ;;
    dump) words="--config --node --help --version --version-name --plan --force --yes --json list run restore" ;;
    dumpd) words="--config --node --help --version --foreground" ;;
    inspect) words="--config --node --help --version" files=1 ;;
    help) words="--config --node --help --version status check pki replicatord gate barrier verify resync held salvage loss retained promote demote directory directoryd accounts dump dumpd inspect help version" ;;
    version) words="--config --node --help --version" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    if [ -n "$files" ]; then
        COMPREPLY+=($(compgen -f -- "$current"))
    fi
}
complete -F _mailtwin mailtwin
