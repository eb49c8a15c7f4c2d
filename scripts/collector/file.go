package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// The exporter "file" writes one line for each span, and one for each figure: a whole OTLP document in JSON, resource
// included, so that grep finds a service by its name in every line.
//
// A file that is full is copied to the folder of old ones and then cut to nothing where it stands. It is never
// renamed: `tail -f` goes on, and the folder it stands in need not be writable.

var (
	errNoPath   = errors.New("path must be set")
	errNoBounds = errors.New("rotation: folder, max_megabytes and max_backups must be set, so that the disk does not fill")
)

type rotation struct {
	Folder       string `mapstructure:"folder"`
	MaxMegabytes int64  `mapstructure:"max_megabytes"`
	MaxBackups   int    `mapstructure:"max_backups"`
}

type fileConfig struct {
	Path     string   `mapstructure:"path"`
	Rotation rotation `mapstructure:"rotation"`
}

// Validate says what is wrong in the configuration.
func (config *fileConfig) Validate() error {
	if config.Path == "" {
		return errNoPath
	}
	if config.Rotation.Folder == "" || config.Rotation.MaxMegabytes < 1 || config.Rotation.MaxBackups < 1 {
		return errNoBounds
	}
	return nil
}

func newFileFactory() exporter.Factory {
	return exporter.NewFactory(
		component.MustNewType("file"),
		func() component.Config { return &fileConfig{} },
		exporter.WithTraces(newTraces, component.StabilityLevelStable),
		exporter.WithMetrics(newMetrics, component.StabilityLevelStable),
	)
}

func newTraces(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Traces, error) {
	file := fileOf(config.(*fileConfig))
	return exporterhelper.NewTraces(ctx, set, config, file.traces,
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
		exporterhelper.WithStart(file.start), exporterhelper.WithShutdown(file.stop))
}

func newMetrics(ctx context.Context, set exporter.Settings, config component.Config) (exporter.Metrics, error) {
	file := fileOf(config.(*fileConfig))
	return exporterhelper.NewMetrics(ctx, set, config, file.metrics,
		exporterhelper.WithCapabilities(consumer.Capabilities{MutatesData: false}),
		exporterhelper.WithStart(file.start), exporterhelper.WithShutdown(file.stop))
}

type file struct {
	config *fileConfig
	mutex  sync.Mutex
	open   *os.File
	bytes  int64
	users  int
}

// Spans and figures of one configuration go into one file, which must be counted and cut by one only.
var (
	filesMutex sync.Mutex
	files      = map[*fileConfig]*file{}
)

func fileOf(config *fileConfig) *file {
	filesMutex.Lock()
	defer filesMutex.Unlock()
	if files[config] == nil {
		files[config] = &file{config: config}
	}
	return files[config]
}

func (file *file) start(context.Context, component.Host) error {
	file.mutex.Lock()
	defer file.mutex.Unlock()
	file.users++
	if file.open != nil {
		return nil
	}
	open, err := os.OpenFile(file.config.Path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640)
	if err != nil {
		return err
	}
	status, err := open.Stat()
	if err != nil {
		return err
	}
	file.open, file.bytes = open, status.Size()
	return os.MkdirAll(file.config.Rotation.Folder, 0o750)
}

func (file *file) stop(context.Context) error {
	file.mutex.Lock()
	defer file.mutex.Unlock()
	file.users--
	if file.open == nil || file.users > 0 {
		return nil
	}
	open := file.open
	file.open = nil
	filesMutex.Lock()
	defer filesMutex.Unlock()
	delete(files, file.config)
	return open.Close()
}

func (file *file) traces(_ context.Context, traces ptrace.Traces) error {
	var lines []byte
	marshaler := ptrace.JSONMarshaler{}
	for _, resource := range traces.ResourceSpans().All() {
		for _, scope := range resource.ScopeSpans().All() {
			for _, span := range scope.Spans().All() {
				one := ptrace.NewTraces()
				ofResource := one.ResourceSpans().AppendEmpty()
				resource.Resource().CopyTo(ofResource.Resource())
				ofScope := ofResource.ScopeSpans().AppendEmpty()
				scope.Scope().CopyTo(ofScope.Scope())
				span.CopyTo(ofScope.Spans().AppendEmpty())
				line, err := marshaler.MarshalTraces(one)
				if err != nil {
					return err
				}
				lines = append(append(lines, line...), '\n')
			}
		}
	}
	return file.write(lines)
}

func (file *file) metrics(_ context.Context, metrics pmetric.Metrics) error {
	var lines []byte
	marshaler := pmetric.JSONMarshaler{}
	for _, resource := range metrics.ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				one := pmetric.NewMetrics()
				ofResource := one.ResourceMetrics().AppendEmpty()
				resource.Resource().CopyTo(ofResource.Resource())
				ofScope := ofResource.ScopeMetrics().AppendEmpty()
				scope.Scope().CopyTo(ofScope.Scope())
				metric.CopyTo(ofScope.Metrics().AppendEmpty())
				line, err := marshaler.MarshalMetrics(one)
				if err != nil {
					return err
				}
				lines = append(append(lines, line...), '\n')
			}
		}
	}
	return file.write(lines)
}

func (file *file) write(lines []byte) error {
	file.mutex.Lock()
	defer file.mutex.Unlock()
	if file.bytes > 0 && file.bytes+int64(len(lines)) > file.config.Rotation.MaxMegabytes<<20 {
		if err := file.rotate(); err != nil {
			return err
		}
	}
	written, err := file.open.Write(lines)
	file.bytes += int64(written)
	return err
}

// Whatever goes wrong, the file is cut: old spans are worth less than the disk.
func (file *file) rotate() error {
	copied := file.keep()
	if err := file.open.Truncate(0); err != nil {
		return errors.Join(copied, err)
	}
	file.bytes = 0
	return copied
}

func (file *file) keep() error {
	name := func(number int) string {
		base := filepath.Base(file.config.Path)
		return filepath.Join(file.config.Rotation.Folder, fmt.Sprintf("%s.%d", base, number))
	}
	for number := file.config.Rotation.MaxBackups - 1; number > 0; number-- {
		if err := os.Rename(name(number), name(number+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	kept, err := os.OpenFile(name(1), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err := io.Copy(kept, io.NewSectionReader(file.open, 0, file.bytes)); err != nil {
		return errors.Join(err, kept.Close())
	}
	return kept.Close()
}
