// A git server over ssh: the real git behind an ssh server that lets one key in, and runs nothing but git-upload-pack.
//
//	gitssh FOLDER HOST-KEY AUTHORIZED-KEY
//
// Prints the port on which it listens.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: gitssh FOLDER HOST-KEY AUTHORIZED-KEY")
	}
	host, err := ssh.ParsePrivateKey(read(os.Args[2]))
	check(err)
	authorized, _, _, _, err := ssh.ParseAuthorizedKey(read(os.Args[3]))
	check(err)
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(authorized.Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		check(err)
		go serve(connection, config, os.Args[1])
	}
}

func serve(connection net.Conn, config *ssh.ServerConfig, folder string) {
	_, channels, requests, err := ssh.NewServerConn(connection, config)
	if err != nil {
		log.Print(err)
		return
	}
	go ssh.DiscardRequests(requests)
	for opened := range channels {
		channel, requests, err := opened.Accept()
		if err != nil {
			return
		}
		go func() {
			for request := range requests {
				if request.Type != "exec" {
					request.Reply(false, nil)
					continue
				}
				request.Reply(true, nil)
				// The payload is a string with its length in front of it (RFC 4254, section 6.5).
				status := run(channel, string(request.Payload[4:]), folder)
				channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
				channel.Close()
			}
		}()
	}
}

func run(channel ssh.Channel, command, folder string) byte {
	path, isFetch := strings.CutPrefix(command, "git-upload-pack ")
	if !isFetch {
		fmt.Fprintln(channel.Stderr(), "only git-upload-pack is served")
		return 1
	}
	git := exec.Command("git-upload-pack", filepath.Join(folder, filepath.Clean("/"+strings.Trim(path, "'"))))
	git.Stdout, git.Stderr = channel, channel.Stderr()
	stdin, err := git.StdinPipe()
	if err == nil {
		err = git.Start()
	}
	if err != nil {
		fmt.Fprintln(channel.Stderr(), err)
		return 1
	}
	go func() { io.Copy(stdin, channel); stdin.Close() }()
	if git.Wait() != nil {
		return 1
	}
	return 0
}

func read(path string) []byte {
	content, err := os.ReadFile(path)
	check(err)
	return content
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
